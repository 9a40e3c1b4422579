//go:build tools

// Package tools pins helm, which checks, renders and installs the chart in deploy/helm.
// `cargo xtask tools` builds it; nothing of Freeboard links it.
package tools

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
