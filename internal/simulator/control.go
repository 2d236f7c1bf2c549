package simulator

import "net/http"

func (s *Simulator) addControl(mux *http.ServeMux) {}
