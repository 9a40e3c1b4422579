//go:build tools

// Package tools pins the container runtime of the lab's nodes. It is a module of its own, because containerd and
// Kubernetes are built against different versions of the interface between them.
package tools

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
