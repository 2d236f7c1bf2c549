package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Base is the address of the project's own pages. It is a placeholder until the
// repository has a home; the alerting rules use the same one (deploy/prometheus/README.md).
const Base = "https://example.com/entra-aws-exporter"

// The dashboards' addresses in Grafana.
const (
	OverviewUID   = "entra-aws-overview"
	ConnectionUID = "entra-aws-connection"
)

// Dashboard is a dashboard of the classic schema, which Grafana 10 to 13 import.
type Dashboard = dashboard.Dashboard //nolint:staticcheck // its successor dashboardv2 needs Grafana 12

const (
	schemaVersion = 39 // Grafana 10's; later ones migrate it
	gridWidth     = 24
)

// section is a row with the panels below it; without a title there is no row.
type section struct {
	title  string
	panels []panel
}

func newDashboard(uid, title, description string, variables []dashboard.VariableModel, links []dashboard.DashboardLink, sections ...section) Dashboard {
	return Dashboard{
		Uid: &uid, Title: &title, Description: &description, Tags: []string{"entra-aws-exporter"},
		Timezone: new("browser"), Editable: new(false), GraphTooltip: new(dashboard.DashboardCursorSyncCrosshair),
		Time: &dashboard.DashboardDashboardTime{From: "now-7d", To: "now"}, Refresh: new("1m"), SchemaVersion: schemaVersion,
		Panels:      layOut(sections),
		Templating:  dashboard.DashboardDashboardTemplating{List: variables},
		Annotations: dashboard.AnnotationContainer{List: rotationAnnotations()},
		Links:       links,
	}
}

// layOut numbers the panels and places them from left to right and from top to bottom.
func layOut(sections []section) []dashboard.PanelOrRowPanel {
	var placed []dashboard.PanelOrRowPanel
	var id, x, y, height uint32
	place := func(position *dashboard.GridPos) uint32 {
		if x+position.W > gridWidth {
			x, y, height = 0, y+height, 0
		}
		position.X, position.Y = x, y
		x, height = x+position.W, max(height, position.H)
		id++
		return id
	}
	for _, s := range sections {
		if s.title != "" {
			row := &dashboard.RowPanel{Type: "row", Title: &s.title, GridPos: &dashboard.GridPos{W: gridWidth, H: 1}, Panels: []dashboard.Panel{}}
			row.Id = place(row.GridPos)
			placed = append(placed, dashboard.PanelOrRowPanel{RowPanel: row})
		}
		for _, p := range s.panels {
			p.Id = new(place(p.GridPos))
			placed = append(placed, dashboard.PanelOrRowPanel{Panel: p.Panel})
		}
	}
	return placed
}

// dashboardVariables are the variables of both dashboards. On a dashboard about one
// connection, the variable connection has a single value.
func dashboardVariables(oneConnection bool) []dashboard.VariableModel {
	return []dashboard.VariableModel{
		{
			Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: new("Data source"),
			Query: &dashboard.StringOrMap{String: new("prometheus")}, Hide: new(dashboard.VariableHideDontHide),
			IncludeAll: new(false), Multi: new(false), Refresh: new(dashboard.VariableRefreshOnDashboardLoad), Regex: new(""),
		},
		queryVariable("job", "Job", `label_values(entra_aws_connection_info, job)`, true),
		queryVariable("instance", "Instance", `label_values(entra_aws_connection_info{job=~"$job"}, instance)`, true),
		queryVariable("connection", "Connection", `label_values(entra_aws_connection_info{job=~"$job", instance=~"$instance"}, connection)`, !oneConnection),
	}
}

func queryVariable(name, label, query string, multi bool) dashboard.VariableModel {
	v := dashboard.VariableModel{
		Type: dashboard.VariableTypeQuery, Name: name, Label: &label, Datasource: dataSource(),
		Query: &dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": name}}, Hide: new(dashboard.VariableHideDontHide),
		IncludeAll: &multi, Multi: &multi, Refresh: new(dashboard.VariableRefreshOnTimeRangeChanged), Regex: new(""),
		Sort: new(dashboard.VariableSortAlphabeticalAsc),
	}
	if multi {
		v.AllValue = new(".+")
		v.Current = &dashboard.VariableOption{
			Selected: new(true),
			Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value:    dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		}
	}
	return v
}

// dataSource is the Prometheus data source that the variable selects.
func dataSource() *common.DataSourceRef {
	return &common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

// rotationAnnotations mark the start and the success of rotations: the value of each
// metric is the time of its mark.
func rotationAnnotations() []dashboard.AnnotationQuery {
	annotation := func(name, colour, metric string) dashboard.AnnotationQuery {
		return dashboard.AnnotationQuery{
			Name: name, Datasource: dataSource(), Enable: true, IconColor: colour,
			Expr:            new("max by (connection, kind) (" + metric + selector() + ") * 1000"),
			UseValueForTime: new(true), Step: new("60s"), TitleFormat: &name, TextFormat: new("{{connection}}"), TagKeys: new("connection,kind"),
		}
	}
	return []dashboard.AnnotationQuery{
		annotation("Rotation started", "blue", "entra_aws_rotation_started_timestamp_seconds"),
		annotation("Rotation done", "green", "entra_aws_rotation_last_success_timestamp_seconds"),
	}
}

// headerLinks lead to the other dashboard and to the runbooks.
func headerLinks(uid, title string) []dashboard.DashboardLink {
	toDashboard := pageLink(title, "/d/"+uid)
	toDashboard.Icon, toDashboard.TargetBlank = "dashboard", false
	toDashboard.IncludeVars, toDashboard.KeepTime = true, true
	return []dashboard.DashboardLink{toDashboard, pageLink("Runbooks", Base+"/docs/runbooks")}
}

// runbookLinks lead from a panel to the runbooks of the alerts on its values.
func runbookLinks(alerts []string) []dashboard.DashboardLink {
	links := make([]dashboard.DashboardLink, 0, len(alerts))
	for _, alert := range alerts {
		links = append(links, pageLink("Runbook "+alert, Base+"/docs/runbooks/"+alert+".md"))
	}
	return links
}

// pageLink opens a page in a new tab.
func pageLink(title, url string) dashboard.DashboardLink {
	return dashboard.DashboardLink{
		Type: dashboard.DashboardLinkTypeLink, Title: title, Url: &url, Icon: "doc", Tags: []string{}, TargetBlank: true,
	}
}
