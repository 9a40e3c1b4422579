//go:build tools

// Package tools pins promtool, which checks and plays through the alerts of the chart in deploy/helm.
// `cargo xtask tools` builds it; nothing of Freeboard links it.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
