// Command gokit is a service as one writes it with go-kit: it registers itself with Consul, and watches who
// else offers the same. Each thing that it hears is a line of JSON on its output.
//
// Its own port takes what a test tells it: POST /fail and /heal turn its health, POST /register registers it
// again. SIGTERM deregisters it and ends it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-kit/kit/sd"
	kitconsul "github.com/go-kit/kit/sd/consul"
	"github.com/go-kit/log"
	consul "github.com/hashicorp/consul/api"
)

const (
	interval = 200 * time.Millisecond
	ttl      = 2 * time.Second
)

// line is what the program says: where it listens, or what an event of the instancer holds.
type line struct {
	Listening string   `json:"listening,omitempty"`
	Instances []string `json:"instances"`
	Error     string   `json:"error,omitempty"`
}

func main() {
	address := flag.String("consul", "127.0.0.1:8500", "the agent's `address`")
	service := flag.String("service", "greeter", "the service's `name`")
	id := flag.String("id", "", "the instance's `id`")
	check := flag.String("check", "http", "`how` its health is told: http or ttl")
	flag.Parse()
	if err := run(*address, *service, *id, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, service, id, check string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	raw, err := consul.NewClient(&consul.Config{Address: address})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var lock sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(l line) {
		lock.Lock()
		defer lock.Unlock()
		out.Encode(l)
	}
	logger := log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr))
	client := kitconsul.NewClient(raw)

	registration := &consul.AgentServiceRegistration{
		ID:      id,
		Name:    service,
		Address: "127.0.0.1",
		Port:    listener.Addr().(*net.TCPAddr).Port,
		Tags:    []string{"go-kit", "v1"},
		Meta:    map[string]string{"zone": "a"},
		Check:   checkOf(check, listener.Addr().String()),
	}
	registrar := kitconsul.NewRegistrar(client, registration, logger)

	var failing atomic.Bool
	serve(listener, &failing, registrar)
	say(line{Listening: listener.Addr().String()})
	registrar.Register()
	defer registrar.Deregister()
	if check == "ttl" {
		go beat(ctx, raw, "service:"+id, &failing)
	}

	instancer := kitconsul.NewInstancer(client, logger, service, []string{"go-kit", "v1"}, true)
	defer instancer.Stop()
	events := make(chan sd.Event, 1) // Register sends what is known so far.
	instancer.Register(events)
	for {
		select {
		case event := <-events:
			heard := line{Instances: event.Instances}
			if event.Err != nil {
				heard.Error = event.Err.Error()
			}
			say(heard)
		case <-ctx.Done():
			go func() { // The instancer may be about to send.
				for range events {
				}
			}()
			instancer.Deregister(events)
			return nil
		}
	}
}

func checkOf(kind, address string) *consul.AgentServiceCheck {
	if kind == "ttl" {
		return &consul.AgentServiceCheck{TTL: ttl.String(), Status: consul.HealthPassing}
	}
	return &consul.AgentServiceCheck{
		HTTP:                           "http://" + address + "/health",
		Interval:                       interval.String(),
		Timeout:                        "1s",
		DeregisterCriticalServiceAfter: "1m",
	}
}

// serve answers for the program's health, and takes what a test tells it.
func serve(listener net.Listener, failing *atomic.Bool, registrar sd.Registrar) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if failing.Load() {
			http.Error(w, "not well", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /fail", func(http.ResponseWriter, *http.Request) { failing.Store(true) })
	mux.HandleFunc("POST /heal", func(http.ResponseWriter, *http.Request) { failing.Store(false) })
	mux.HandleFunc("POST /register", func(http.ResponseWriter, *http.Request) { registrar.Register() })
	go http.Serve(listener, mux)
}

// beat tells the agent how the program is, several times within the time to live.
func beat(ctx context.Context, client *consul.Client, id string, failing *atomic.Bool) {
	for tick := time.NewTicker(interval); ; {
		status := consul.HealthPassing
		if failing.Load() {
			status = consul.HealthCritical
		}
		client.Agent().UpdateTTL(id, "as "+status, status) // An agent that is away is tried again.
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
