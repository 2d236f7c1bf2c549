package rotate
import ("testing";"time")
func TestSpeed(t *testing.T){
 s:=usual(); s.quiet=true
 b:=time.Now()
 for range 20 { play(t,s,func(t *testing.T,o outcome){}) }
 t.Log(time.Since(b)/20)
}
