package grafana

import (
	"strconv"
	"strings"
)

// selector picks what the variables say; more are further matchers.
func selector(more ...string) string {
	return processSelector(append([]string{`connection=~"$connection"`}, more...)...)
}

// processSelector is for metrics that carry no connection.
func processSelector(more ...string) string {
	return "{" + strings.Join(append([]string{`job=~"$job"`, `instance=~"$instance"`}, more...), ", ") + "}"
}

func panel(kind, title, description, unit string, width, height int, targets ...Target) *Panel {
	source := prometheus()
	for i := range targets {
		targets[i].RefID = string(rune('A' + i))
	}
	return &Panel{
		Type: kind, Title: title, Description: description, Datasource: &source, Targets: targets,
		GridPos:     Position{W: width, H: height},
		FieldConfig: FieldConfig{Defaults: Field{Unit: unit}, Overrides: []Override{}},
		Options:     object{},
	}
}

func row(title string) *Panel {
	open := false
	return &Panel{Type: "row", Title: title, GridPos: Position{W: 24, H: 1}, Collapsed: &open, Panels: []object{}}
}

// over is a query over the time range; legend may use {{label}}.
func over(expr, legend string) Target {
	return Target{Datasource: prometheus(), Expr: expr, LegendFormat: legend, Format: "time_series", Range: true}
}

// last is a query at the end of the time range.
func last(expr, legend string) Target {
	return Target{Datasource: prometheus(), Expr: expr, LegendFormat: legend, Format: "time_series", Instant: true}
}

// rows is a query whose labels become the columns of a table.
func rows(expr string) Target {
	return Target{Datasource: prometheus(), Expr: expr, Format: "table", Instant: true}
}

func stat(title, description, unit string, width int, targets ...Target) *Panel {
	p := panel("stat", title, description, unit, width, 4, targets...)
	p.Options = object{
		"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		"colorMode":     "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "value_and_name",
	}
	p.FieldConfig.Defaults.NoValue = "none"
	return p
}

func timeseries(title, description, unit string, width int, targets ...Target) *Panel {
	p := panel("timeseries", title, description, unit, width, 8, targets...)
	p.FieldConfig.Defaults.Custom = object{"drawStyle": "line", "fillOpacity": 5, "lineWidth": 1, "showPoints": "never", "spanNulls": false}
	p.FieldConfig.Defaults.NoValue = "none"
	p.Options = object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	return p
}

// bars stacks counts.
func bars(title, description string, targets ...Target) *Panel {
	p := timeseries(title, description, "short", 12, targets...)
	p.FieldConfig.Defaults.Custom = object{"drawStyle": "bars", "fillOpacity": 60, "lineWidth": 0, "showPoints": "never", "stacking": object{"mode": "normal", "group": "A"}}
	p.FieldConfig.Defaults.Min = number(0)
	return p
}

// timeline shows states over time; what the numbers mean is in the mappings.
func timeline(title, description string, width, height int, states []state, targets ...Target) *Panel {
	p := panel("state-timeline", title, description, "none", width, height, targets...)
	p.FieldConfig.Defaults.Mappings = mappings(states)
	p.FieldConfig.Defaults.Custom = object{"fillOpacity": 80, "lineWidth": 0}
	p.FieldConfig.Defaults.Color = object{"mode": "thresholds"}
	p.FieldConfig.Defaults.NoValue = "none"
	p.Options = object{
		"mergeValues": true, "showValue": "auto", "rowHeight": 0.8, "alignValue": "left",
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []string{}},
		"tooltip": object{"mode": "single", "sort": "none"},
	}
	return p
}

// table shows labels as columns in the given order; the query's value comes last.
func table(title, description, unit, value string, height int, columns []string, targets ...Target) *Panel {
	p := panel("table", title, description, unit, 12, height, targets...)
	p.Options = object{"showHeader": true, "cellHeight": "sm"}
	order, names, hidden := object{}, object{}, object{"Time": true}
	for i, column := range columns {
		order[column] = i
	}
	if len(targets) == 1 {
		order["Value"], names["Value"] = len(columns), value
	}
	p.Transformations = []object{{"id": "organize", "options": object{"excludeByName": hidden, "indexByName": order, "renameByName": names}}}
	p.FieldConfig.Defaults.NoValue = "none"
	return p
}

// merged joins the rows of several queries that have the same labels, and names the columns.
func (p *Panel) merged(names map[string]string) *Panel {
	p.Transformations[0]["options"].(object)["renameByName"] = names
	p.Transformations = append([]object{{"id": "merge", "options": object{}}}, p.Transformations...)
	return p
}

// named shows the series' names instead of their values.
func (p *Panel) named() *Panel {
	p.Options["textMode"] = "name"
	return p
}

// sortBy sorts a table, the smallest first.
func (p *Panel) sortBy(field string) *Panel {
	p.Transformations = append(p.Transformations, object{"id": "sortBy", "options": object{"fields": object{}, "sort": []object{{"field": field}}}})
	return p
}

// explains links the panel to the runbooks of the alerts on what it shows.
func (p *Panel) explains(alerts ...string) *Panel {
	p.Links = runbooks(alerts...)
	return p
}

// coloured colours by thresholds: each colour from its value on.
func (p *Panel) coloured(base string, steps ...step) *Panel {
	list := append(make([]object, 0, 1+len(steps)), object{"color": base, "value": nil})
	for _, s := range steps {
		list = append(list, object{"color": s.colour, "value": s.from})
	}
	p.FieldConfig.Defaults.Thresholds = object{"mode": "absolute", "steps": list}
	p.FieldConfig.Defaults.Color = object{"mode": "thresholds"}
	return p
}

type step struct {
	from   float64
	colour string
}

// daysLeft are the bands of the alerts: 14 and 60 days.
func (p *Panel) daysLeft() *Panel {
	p.FieldConfig.Defaults.Decimals = new(int)
	return p.coloured("red", step{14, "orange"}, step{60, "green"})
}

// withThresholdLines draws the thresholds into a time series.
func (p *Panel) withThresholdLines() *Panel {
	p.FieldConfig.Defaults.Custom["thresholdsStyle"] = object{"mode": "dashed"}
	p.FieldConfig.Defaults.Color = object{"mode": "palette-classic"}
	return p
}

// field overrides properties of one column or series.
func (p *Panel) field(name string, properties ...object) *Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{
		Matcher: object{"id": "byName", "options": name}, Properties: properties,
	})
	return p
}

func property(id string, value any) object { return object{"id": id, "value": value} }

// state is one value of a state timeline.
type state struct {
	name, text, colour string
}

// highestState turns a state set into one number for each connection: that of the current
// state. Should replicas disagree for a moment, the later state of the list is shown.
func highestState(metric, label string, states []state) string {
	terms := make([]string, 0, len(states))
	for i, s := range states {
		terms = append(terms, strconv.Itoa(i+1)+" * ("+metric+selector(label+`="`+s.name+`"`)+" == 1)")
	}
	return "max by (connection) (" + strings.Join(terms, " or ") + ")"
}

// shifted moves the numbers of a second state set behind those of the first.
func shifted(by int, expr string) string { return strconv.Itoa(by) + " + " + expr }

func mappings(states []state) []object {
	options := object{}
	for i, s := range states {
		options[strconv.Itoa(i+1)] = object{"text": s.text, "color": s.colour, "index": i}
	}
	return []object{{"type": "value", "options": options}}
}

func number(n float64) *float64 { return &n }
