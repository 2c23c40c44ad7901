package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// board is a dashboard: sections of panels, which share the width among them.
type board struct {
	name, title, description string
	sections                 []section
}

// section is a row of panels, six at most.
type section struct {
	title  string
	panels []panel
}

// panel shows targets over time, or their last values as numbers.
type panel struct {
	title string
	// description says what is normal, and what to do when it is not.
	description string
	unit        string // of Grafana: s, reqps, percentunit, bytes, short …
	number      bool
	targets     []target
}

// target is a query and how its series are named.
type target struct {
	expr, legend string
	exemplars    bool // the points are links to traces
}

const (
	wholeWidth   = 24 // of Grafana's grid
	numberHeight = 4
	seriesHeight = 8
)

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("$datasource")}
}

func (b board) build() (dashboard.Dashboard, error) {
	d := dashboard.NewDashboardBuilder(b.title).
		Uid("kiteshop-"+b.name).
		Description(b.description).
		Tags([]string{"kiteshop"}).
		Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-1h", "now").
		Timezone("browser").
		Refresh("30s").
		Link(dashboard.NewDashboardLinkBuilder("Kiteshop").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"kiteshop"}).KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(choice("service", "Service", "label_values(go_goroutine_count, service_name)")).
		WithVariable(choice("instance", "Instance", `label_values(go_goroutine_count{service_name=~"$service"}, instance)`))
	for _, s := range b.sections {
		d.WithRow(dashboard.NewRowBuilder(s.title))
		for _, p := range s.panels {
			d.WithPanel(p.build(uint32(wholeWidth / len(s.panels))))
		}
	}
	return d.Build()
}

// choice is a variable of which some or all values may be chosen.
func choice(name, label, query string) cog.Builder[dashboard.VariableModel] {
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Datasource(source()).
		Query(dashboard.StringOrMap{String: &query}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).
		IncludeAll(true).
		AllValue(".*")
}

func (p panel) build(width uint32) cog.Builder[dashboard.Panel] {
	if p.number {
		b := stat.NewPanelBuilder().
			Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
			Span(width).Height(numberHeight).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
		for _, t := range p.targets {
			b.WithTarget(t.build())
		}
		return b
	}
	b := timeseries.NewPanelBuilder().
		Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
		Span(width).Height(seriesHeight).
		Min(0).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for _, t := range p.targets {
		b.WithTarget(t.build())
	}
	return b
}

func (t target) build() *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(t.expr).LegendFormat(t.legend).Range().Exemplar(t.exemplars).Datasource(source())
}

// series is a panel over time.
func series(title, unit, description string, targets ...target) panel {
	return panel{title: title, unit: unit, description: description, targets: targets}
}

// number is a panel that shows what is now.
func number(title, unit, description string, targets ...target) panel {
	return panel{title: title, unit: unit, description: description, number: true, targets: targets}
}
