package grafana

import (
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// panel is a panel whose look the methods below complete.
type panel struct{ *dashboard.Panel }

func newPanel(kind, title, description, unit string, width, height uint32, options any, queries []*prometheus.Dataquery) panel {
	targets := make([]variants.Dataquery, 0, len(queries))
	for i, query := range queries {
		query.RefId = new(string(rune('A' + i)))
		targets = append(targets, query)
	}
	return panel{&dashboard.Panel{
		Type: kind, Title: &title, Description: &description, Datasource: dataSource(), Targets: targets,
		GridPos: &dashboard.GridPos{W: width, H: height},
		Options: options,
		FieldConfig: &dashboard.FieldConfigSource{
			Defaults:  dashboard.FieldConfig{Unit: &unit, NoValue: new("none")},
			Overrides: []dashboard.DashboardFieldConfigSourceOverrides{},
		},
	}}
}

// statPanel shows the last value of each series.
func statPanel(title, description, unit string, width uint32, queries ...*prometheus.Dataquery) panel {
	options := stat.NewOptions()
	options.GraphMode, options.TextMode = common.BigValueGraphModeNone, common.BigValueTextModeValueAndName
	options.Orientation = common.VizOrientationAuto
	options.ReduceOptions = common.ReduceDataOptions{Calcs: []string{"lastNotNull"}, Fields: new(""), Values: new(false)}
	return newPanel("stat", title, description, unit, width, 4, options, queries)
}

// linePanel shows series over time.
func linePanel(title, description, unit string, width uint32, queries ...*prometheus.Dataquery) panel {
	return timeSeriesPanel(title, description, unit, width, &timeseries.FieldConfig{
		DrawStyle: new(common.GraphDrawStyleLine), FillOpacity: new(5.0), LineWidth: new(1.0),
		ShowPoints: new(common.VisibilityModeNever), SpanNulls: &common.BoolOrFloat64{Bool: new(false)},
	}, queries)
}

// barPanel shows stacked counts over time.
func barPanel(title, description string, queries ...*prometheus.Dataquery) panel {
	p := timeSeriesPanel(title, description, "short", 12, &timeseries.FieldConfig{
		DrawStyle: new(common.GraphDrawStyleBars), FillOpacity: new(60.0), LineWidth: new(0.0),
		ShowPoints: new(common.VisibilityModeNever), Stacking: &common.StackingConfig{Mode: new(common.StackingModeNormal), Group: new("A")},
	}, queries)
	p.FieldConfig.Defaults.Min = new(0.0)
	return p
}

func timeSeriesPanel(title, description, unit string, width uint32, custom *timeseries.FieldConfig, queries []*prometheus.Dataquery) panel {
	p := newPanel("timeseries", title, description, unit, width, 8, &timeseries.Options{
		Legend:  bottomLegend(true),
		Tooltip: common.VizTooltipOptions{Mode: common.TooltipDisplayModeMulti, Sort: common.SortOrderDescending},
	}, queries)
	p.FieldConfig.Defaults.Custom = custom
	return p
}

func bottomLegend(show bool) common.VizLegendOptions {
	return common.VizLegendOptions{
		DisplayMode: common.LegendDisplayModeList, Placement: common.LegendPlacementBottom, ShowLegend: show, Calcs: []string{},
	}
}

// timelinePanel shows states over time. The mappings turn the queries' numbers into states.
func timelinePanel(title, description string, width, height uint32, mappings []dashboard.ValueMapping, queries ...*prometheus.Dataquery) panel {
	p := newPanel("state-timeline", title, description, "none", width, height, &statetimeline.Options{
		MergeValues: new(true), ShowValue: common.VisibilityModeAuto, RowHeight: 0.8, AlignValue: new(common.TimelineValueAlignmentLeft),
		Legend:  bottomLegend(false),
		Tooltip: common.VizTooltipOptions{Mode: common.TooltipDisplayModeSingle, Sort: common.SortOrderNone},
	}, queries)
	p.FieldConfig.Defaults.Mappings = mappings
	p.FieldConfig.Defaults.Custom = &statetimeline.FieldConfig{FillOpacity: new(uint32(80)), LineWidth: new(uint32(0))}
	p.FieldConfig.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
	return p
}

// organizeOptions and sortByOptions are the options of these transformations, for which
// Grafana publishes no types.
type organizeOptions struct {
	ExcludeByName map[string]bool   `json:"excludeByName"`
	IndexByName   map[string]int    `json:"indexByName"`
	RenameByName  map[string]string `json:"renameByName"`
}

type sortByOptions struct {
	Fields struct{}    `json:"fields"`
	Sort   []sortField `json:"sort"`
}

type sortField struct {
	Field string `json:"field"`
}

// tablePanel shows labels as columns in the given order. A table of one query ends with
// the query's value, under the given name.
func tablePanel(title, description, valueName string, height uint32, columns []string, queries ...*prometheus.Dataquery) panel {
	p := newPanel("table", title, description, "none", 12, height, &table.Options{ShowHeader: true, CellHeight: new(common.TableCellHeightSm)}, queries)
	organize := &organizeOptions{map[string]bool{"Time": true}, map[string]int{}, map[string]string{}}
	for i, column := range columns {
		organize.IndexByName[column] = i
	}
	if len(queries) == 1 {
		organize.IndexByName["Value"], organize.RenameByName["Value"] = len(columns), valueName
	}
	p.Transformations = []dashboard.DataTransformerConfig{{Id: "organize", Options: organize}}
	return p
}

// joined joins the rows of several queries that have the same labels. The names are those
// of the queries' values.
func (p panel) joined(valueNames map[string]string) panel {
	p.Transformations[0].Options.(*organizeOptions).RenameByName = valueNames
	p.Transformations = append([]dashboard.DataTransformerConfig{{Id: "merge", Options: struct{}{}}}, p.Transformations...)
	return p
}

// sortedBy sorts a table, the smallest value first.
func (p panel) sortedBy(field string) panel {
	p.Transformations = append(p.Transformations, dashboard.DataTransformerConfig{Id: "sortBy", Options: &sortByOptions{Sort: []sortField{{field}}}})
	return p
}

// withNames shows the names of the series instead of their values.
func (p panel) withNames() panel {
	p.Options.(*stat.Options).TextMode = common.BigValueTextModeName
	return p
}

// forAlerts links the panel to the runbooks of the alerts on its values.
func (p panel) forAlerts(alerts ...string) panel {
	p.Links = runbookLinks(alerts)
	return p
}

// threshold is the value from which a colour applies.
type threshold struct {
	from   float64
	colour string
}

// coloured colours values by thresholds; the base colour is for values below all of them.
func (p panel) coloured(base string, thresholds ...threshold) panel {
	steps := append(make([]dashboard.Threshold, 0, 1+len(thresholds)), dashboard.Threshold{Color: base})
	for _, t := range thresholds {
		steps = append(steps, dashboard.Threshold{Value: &t.from, Color: t.colour})
	}
	p.FieldConfig.Defaults.Thresholds = &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: steps}
	p.FieldConfig.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
	return p
}

// colouredByDaysLeft uses the limits of the alerts: 14 and 60 days.
func (p panel) colouredByDaysLeft() panel {
	p.FieldConfig.Defaults.Decimals = new(0.0)
	return p.coloured("red", threshold{14, "orange"}, threshold{60, "green"})
}

// withThresholdLines draws the thresholds into a time series.
func (p panel) withThresholdLines() panel {
	p.FieldConfig.Defaults.Custom.(*timeseries.FieldConfig).ThresholdsStyle = &common.GraphThresholdsStyleConfig{Mode: common.GraphThresholdsStyleModeDashed}
	p.FieldConfig.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassic}
	return p
}

// withField overrides properties of one column or series.
func (p panel) withField(name string, properties ...dashboard.DynamicConfigValue) panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, dashboard.DashboardFieldConfigSourceOverrides{
		Matcher: dashboard.MatcherConfig{Id: "byName", Options: name}, Properties: properties,
	})
	return p
}

func unitProperty(unit string) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: "unit", Value: unit}
}

func hiddenProperty() dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: "custom.hidden", Value: true}
}

// mapStates maps the numbers of stateNumber to states, from 1 on.
func mapStates(states ...state) []dashboard.ValueMapping {
	results := make(map[string]dashboard.ValueMappingResult, len(states))
	var index int32
	for _, s := range states {
		results[strconv.Itoa(int(index)+1)] = mappingResult(index, s.text, s.colour)
		index++
	}
	return valueMapping(results)
}

// mapUp maps the values of a source_up metric.
func mapUp() []dashboard.ValueMapping {
	return valueMapping(map[string]dashboard.ValueMappingResult{"0": mappingResult(0, "Fails", "red"), "1": mappingResult(1, "Up", "green")})
}

func mappingResult(index int32, text, colour string) dashboard.ValueMappingResult {
	return dashboard.ValueMappingResult{Text: &text, Color: &colour, Index: &index}
}

func valueMapping(results map[string]dashboard.ValueMappingResult) []dashboard.ValueMapping {
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: results}}}
}
