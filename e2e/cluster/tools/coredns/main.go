// CoreDNS with only the plugins the test cluster's Corefile names: the stock build links the
// SDKs of several clouds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which a query passes the plugins. The kubernetes plugin comes before the template
// that answers all other names, as there is no upstream to ask.
func init() {
	dnsserver.Directives = []string{
		"ready",
		"health",
		"errors",
		"log",
		"cache",
		"loadbalance",
		"kubernetes",
		"template",
	}
}

func main() {
	coremain.Run()
}
