package main

import (
	"net/url"
	"strings"

	"servidor-backup/bus"
)

// serverList splits a list of addresses separated by commas.
func serverList(servers string) []string {
	list := strings.Split(servers, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// serverHosts returns the hosts of a list of NATS addresses. An address is a URL or
// HOST:PORT, which the NATS client accepts too.
func serverHosts(x *texts, servers string) ([]string, error) {
	var hosts []string
	for _, server := range serverList(servers) {
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !natsScheme(u.Scheme) {
			text := x.t("error.server-url", "Server", bus.Redact(servers))
			return nil, &failure{exit: exitUsage, code: "usage", text: text}
		}
		hosts = append(hosts, u.Hostname())
	}
	return hosts, nil
}

func natsScheme(s string) bool { return s == "nats" || s == "tls" || s == "ws" || s == "wss" }
