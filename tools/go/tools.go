//go:build tools

// Package tools pins the programs that Freeboard is measured against and must work together with.
// `cargo xtask tools` builds them; nothing of Freeboard links them.
package tools

import (
	_ "github.com/aws/amazon-vpc-cni-k8s/cmd/aws-k8s-agent"
	_ "github.com/aws/amazon-vpc-cni-k8s/cmd/egress-cni-plugin"
	_ "github.com/aws/amazon-vpc-cni-k8s/cmd/routed-eni-cni-plugin"
	_ "github.com/containernetworking/cni/cnitool"
	_ "github.com/containernetworking/plugins/plugins/ipam/host-local"
	_ "github.com/containernetworking/plugins/plugins/main/loopback"
	_ "github.com/containernetworking/plugins/plugins/main/ptp"
	_ "github.com/containernetworking/plugins/plugins/meta/portmap"
)
