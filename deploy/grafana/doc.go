// Package grafana generates the dashboards in dashboards/*.json. Most of a dashboard's
// JSON is repetition: data source, position, colours. In Go a reviewer can see a change,
// and all panels share the selectors, colours and thresholds. A test keeps the committed
// JSON current: go test ./deploy/grafana -update
//
// Read overview.go and connection.go first: they list the panels. panels.go makes each
// kind of panel, queries.go builds the PromQL, dashboard.go adds the layout, the
// variables, the annotations and the links. The types are Grafana's own.
package grafana
