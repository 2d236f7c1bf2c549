package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"

	"entra-aws-exporter/internal/simulator/clouds"
)

// controlPrefix is where the control API begins. It asks for no password: it belongs to
// whoever reaches the simulator.
const controlPrefix = "/control/"

// addControl adds the API by which people, tests and demonstrations interfere.
func (s *Simulator) addControl(mux *http.ServeMux) {
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET state":        func(*http.Request) (any, error) { return s.State(), nil },
		"GET truth":        func(*http.Request) (any, error) { return s.Truth(), nil },
		"GET calls":        func(*http.Request) (any, error) { return s.Calls(), nil },
		"DELETE calls":     func(*http.Request) (any, error) { s.ResetCalls(); return nil, nil },
		"GET quirks":       func(*http.Request) (any, error) { return s.quirkList(), nil },
		"PUT quirks":       s.controlQuirks,
		"GET faults":       func(*http.Request) (any, error) { return s.Faults(), nil },
		"POST faults":      s.controlAddFault,
		"DELETE faults":    s.controlClearFaults,
		"POST age":         s.controlAge,
		"POST speed":       s.controlSpeed,
		"POST skew":        s.controlSkew,
		"POST floods":      s.controlFlood,
		"POST connections": s.controlConnection,
		"POST hands":       s.controlHands,
		"GET tokens/{id}":  s.controlTokenValue,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+controlPrefix+path, func(w http.ResponseWriter, r *http.Request) { control(w, r, handle) })
	}
	mux.HandleFunc("GET "+controlPrefix+"story", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.With(func(world *clouds.Model) { _ = world.WriteTimeline(w) }) // the client went away
	})
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("healthy\n")) })
}

// control answers in JSON: 204 when there is nothing to say, 400 for what was asked
// wrongly.
func control(w http.ResponseWriter, r *http.Request, handle func(*http.Request) (any, error)) {
	result, err := handle(r)
	status := http.StatusOK
	if err != nil {
		status, result = http.StatusBadRequest, map[string]string{"error": err.Error()}
	}
	if result == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(result) // the client went away
}

// ask reads a request of the control API; an unknown member is an error.
func ask(r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	return nil
}

func (s *Simulator) quirkList() []map[string]any {
	quirks, values := s.Quirks()
	list := make([]map[string]any, 0, len(quirks))
	for _, quirk := range quirks {
		list = append(list, map[string]any{"name": quirk.Name, "value": values[quirk.Name], "values": quirk.Values, "doc": quirk.Doc})
	}
	return list
}

func (s *Simulator) controlQuirks(r *http.Request) (any, error) {
	wanted := map[string]string{}
	if err := ask(r, &wanted); err != nil {
		return nil, err
	}
	for name, value := range wanted {
		if err := s.SetQuirk(name, value); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *Simulator) controlAddFault(r *http.Request) (any, error) {
	var fault Fault
	if err := ask(r, &fault); err != nil {
		return nil, err
	}
	id, err := s.AddFault(fault)
	return map[string]int{"id": id}, err
}

func (s *Simulator) controlClearFaults(r *http.Request) (any, error) {
	var ids []int
	for _, text := range r.URL.Query()["id"] {
		id, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("id %q is no number", text)
		}
		ids = append(ids, id)
	}
	s.ClearFaults(ids...)
	return nil, nil
}

func (s *Simulator) controlAge(r *http.Request) (any, error) {
	var request struct {
		By string `json:"by"`
	}
	if err := ask(r, &request); err != nil {
		return nil, err
	}
	by, err := ParseAge(request.By)
	if err != nil {
		return nil, err
	}
	s.With(func(w *clouds.Model) { w.Age(by) })
	return nil, nil
}

// ParseAge reads a duration as the exporter's config does, "300d", "2w" or "1d12h", or
// in fractions, "1.5d"; a negative one makes younger.
func ParseAge(text string) (time.Duration, error) {
	amount, negative := strings.CutPrefix(text, "-")
	if by, err := prommodel.ParseDuration(amount); err == nil {
		if negative {
			by = -by
		}
		return time.Duration(by), nil
	}
	if number, isDays := strings.CutSuffix(text, "d"); isDays {
		days, err := strconv.ParseFloat(number, 64)
		if err == nil {
			return time.Duration(days * 24 * float64(time.Hour)), nil
		}
	}
	by, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 300d, 2w or 36h", text)
	}
	return by, nil
}

func (s *Simulator) controlSpeed(r *http.Request) (any, error) {
	var request struct {
		Speed float64 `json:"speed"`
	}
	if err := ask(r, &request); err != nil {
		return nil, err
	}
	var err error
	s.With(func(w *clouds.Model) { err = w.SetSpeed(request.Speed) })
	return nil, err
}

func (s *Simulator) controlSkew(r *http.Request) (any, error) {
	var request struct {
		AWS   string `json:"aws"`
		Entra string `json:"entra"`
	}
	if err := ask(r, &request); err != nil {
		return nil, err
	}
	var skew clouds.Skew
	for text, into := range map[*string]*time.Duration{&request.AWS: &skew.AWS, &request.Entra: &skew.Entra} {
		if *text == "" {
			continue
		}
		by, err := ParseAge(*text)
		if err != nil {
			return nil, err
		}
		*into = by
	}
	s.With(func(w *clouds.Model) { w.SetSkew(skew) })
	return nil, nil
}

func (s *Simulator) controlTokenValue(r *http.Request) (any, error) {
	id := r.PathValue("id")
	value := ""
	s.With(func(w *clouds.Model) { value = w.TokenValue(id) })
	if value == "" {
		return nil, fmt.Errorf("there is no token %q", id)
	}
	return map[string]string{"token_id": id, "value": value}, nil
}
