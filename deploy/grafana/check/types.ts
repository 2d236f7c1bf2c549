// What the dashboards may contain, from the types that Grafana publishes: the classic
// dashboard, and for each kind of panel its options and its part of the field config.
import type { AnnotationQuery, Dashboard } from "@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as Table, FieldConfig as TableField } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { Options as TimeSeries, FieldConfig as TimeSeriesField } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
import type { Options as StateTimeline, FieldConfig as StateTimelineField } from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";

// The published type of an annotation leaves out what belongs to the Prometheus data source:
// https://github.com/grafana/grafana/blob/main/packages/grafana-prometheus/src/annotations.ts
interface PrometheusAnnotation extends AnnotationQuery {
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime: boolean;
}

interface PrometheusDashboard extends Omit<Dashboard, "annotations"> {
  annotations: { list: PrometheusAnnotation[] };
}

export interface Checked {
  dashboard: PrometheusDashboard;
  options: {
    stat: Partial<Stat>;
    table: Partial<Table>;
    timeseries: Partial<TimeSeries>;
    "state-timeline": Partial<StateTimeline>;
  };
  custom: {
    stat: Record<string, never>;
    table: Partial<TableField>;
    timeseries: Partial<TimeSeriesField>;
    "state-timeline": Partial<StateTimelineField>;
  };
}
