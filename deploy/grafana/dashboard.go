// Package grafana builds the dashboards. They are generated, because a dashboard's JSON
// is nine tenths repetition (data source, position, colours) in which a reviewer cannot
// see a change; the Go that makes it fits on a few screens, and thresholds, colours and
// selectors are the same in every panel. The JSON is committed, and a test keeps it
// current: go test ./deploy/grafana -update
//
// It is the classic schema, which Grafana 10 to 13 import.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
package grafana

// Base is the address of the project's own pages, until the repository has a home. The
// alerting rules begin their links with the same one (deploy/prometheus/README.md).
const Base = "https://example.com/entra-aws-exporter"

// The dashboards' addresses in Grafana.
const (
	OverviewUID   = "entra-aws-overview"
	ConnectionUID = "entra-aws-connection"
)

// object is a part of the JSON that has no type of its own here.
type object = map[string]any

// Dashboard is a dashboard in the classic schema.
type Dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	Editable      bool     `json:"editable"`
	SchemaVersion int      `json:"schemaVersion"`
	GraphTooltip  int      `json:"graphTooltip"`
	Refresh       string   `json:"refresh"`
	Time          object   `json:"time"`
	Timezone      string   `json:"timezone"`
	Links         []object `json:"links"`
	Templating    object   `json:"templating"`
	Annotations   object   `json:"annotations"`
	Panels        []*Panel `json:"panels"`
}

// Panel is one panel, or a row that heads the following ones.
type Panel struct {
	ID              int         `json:"id"`
	Type            string      `json:"type"`
	Title           string      `json:"title"`
	Description     string      `json:"description,omitempty"`
	Datasource      *object     `json:"datasource,omitempty"`
	GridPos         Position    `json:"gridPos"`
	Targets         []Target    `json:"targets,omitempty"`
	FieldConfig     FieldConfig `json:"fieldConfig,omitzero"`
	Options         object      `json:"options,omitempty"`
	Transformations []object    `json:"transformations,omitempty"`
	Links           []object    `json:"links,omitempty"`
	Collapsed       *bool       `json:"collapsed,omitempty"` // rows only
	Panels          []object    `json:"panels,omitzero"`     // rows only
}

// Position is where a panel stands; the grid is 24 wide.
type Position struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// Target is one query.
type Target struct {
	RefID        string `json:"refId"`
	Datasource   object `json:"datasource"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Format       string `json:"format"`
	Instant      bool   `json:"instant"`
	Range        bool   `json:"range"`
}

// FieldConfig says how values look.
type FieldConfig struct {
	Defaults  Field      `json:"defaults"`
	Overrides []Override `json:"overrides"`
}

// Field is the look of a value.
type Field struct {
	Unit       string   `json:"unit"`
	Decimals   *int     `json:"decimals,omitempty"`
	Min        *float64 `json:"min,omitempty"`
	NoValue    string   `json:"noValue,omitempty"`
	Color      object   `json:"color,omitempty"`
	Thresholds object   `json:"thresholds,omitempty"`
	Mappings   []object `json:"mappings,omitempty"`
	Links      []object `json:"links,omitempty"`
	Custom     object   `json:"custom,omitempty"`
}

// Override changes the look of one field.
type Override struct {
	Matcher    object   `json:"matcher"`
	Properties []object `json:"properties"`
}

func prometheus() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// newDashboard lays the panels out from left to right and from top to bottom.
func newDashboard(uid, title, description string, variables []object, links []object, panels []*Panel) Dashboard {
	x, y, height := 0, 0, 0
	for i, panel := range panels {
		panel.ID = i + 1
		if x+panel.GridPos.W > 24 {
			x, y, height = 0, y+height, 0
		}
		panel.GridPos.X, panel.GridPos.Y = x, y
		x, height = x+panel.GridPos.W, max(height, panel.GridPos.H)
	}
	return Dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"entra-aws-exporter"},
		SchemaVersion: 39, GraphTooltip: 1, Refresh: "1m", Timezone: "browser",
		Time:        object{"from": "now-7d", "to": "now"},
		Links:       links,
		Templating:  object{"list": variables},
		Annotations: object{"list": annotations()},
		Panels:      panels,
	}
}

// variables are those of both dashboards; connection is a single one where all panels
// show the same connection.
func variables(oneConnection bool) []object {
	return []object{
		{
			"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
			"hide": 0, "includeAll": false, "multi": false, "refresh": 1, "regex": "",
		},
		variable("job", "Job", `label_values(entra_aws_connection_info, job)`, true),
		variable("instance", "Instance", `label_values(entra_aws_connection_info{job=~"$job"}, instance)`, true),
		variable("connection", "Connection", `label_values(entra_aws_connection_info{job=~"$job", instance=~"$instance"}, connection)`, !oneConnection),
	}
}

func variable(name, label, query string, multi bool) object {
	v := object{
		"name": name, "label": label, "type": "query", "datasource": prometheus(),
		"query": object{"query": query, "refId": name},
		"hide":  0, "includeAll": multi, "multi": multi, "refresh": 2, "regex": "", "sort": 1,
	}
	if multi {
		v["allValue"] = ".+"
		v["current"] = object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}}
	}
	return v
}

// annotations mark when rotations began and ended: the metric's value is the time.
func annotations() []object {
	mark := func(name, colour, metric string) object {
		return object{
			"name": name, "datasource": prometheus(), "enable": true, "iconColor": colour,
			"expr":            "max by (connection) (" + metric + selector() + ") * 1000",
			"useValueForTime": true, "step": "60s", "titleFormat": name, "textFormat": "{{connection}}", "tagKeys": "connection",
		}
	}
	return []object{
		mark("Rotation started", "blue", "entra_aws_rotation_started_timestamp_seconds"),
		mark("Rotation done", "green", "entra_aws_rotation_last_success_timestamp_seconds"),
	}
}

// link is one to a dashboard or to a page.
func link(title, url, icon string, keep, newTab bool) object {
	return object{
		"type": "link", "title": title, "url": url, "icon": icon, "includeVars": keep, "keepTime": keep,
		"targetBlank": newTab, "asDropdown": false, "tags": []string{}, "tooltip": "",
	}
}

func links(to, title string) []object {
	return []object{
		link(title, "/d/"+to, "dashboard", true, false),
		link("Runbooks", Base+"/docs/runbooks", "doc", false, true),
	}
}

// runbooks are links from a panel to the alerts that it explains.
func runbooks(alerts ...string) []object {
	list := make([]object, 0, len(alerts))
	for _, alert := range alerts {
		list = append(list, link("Runbook "+alert, Base+"/docs/runbooks/"+alert+".md", "doc", false, true))
	}
	return list
}
