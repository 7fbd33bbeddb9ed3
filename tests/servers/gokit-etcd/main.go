// Command gokit-etcd is a service as one writes it with go-kit: it registers an address with etcd, and watches
// what stands under a prefix. Each thing that it hears is a line of JSON on its output. SIGTERM deregisters it
// and ends it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/etcdv3"
	"github.com/go-kit/log"
)

// line is what an event of the instancer holds.
type line struct {
	Instances []string `json:"instances"`
	Error     string   `json:"error,omitempty"`
}

func main() {
	endpoint := flag.String("etcd", "http://127.0.0.1:2379", "the server's `address`")
	prefix := flag.String("prefix", "/services/greeter/", "where instances stand")
	value := flag.String("value", "http://10.0.0.7:8080", "the instance's address")
	flag.Parse()
	if err := run(*endpoint, *prefix, *value); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(endpoint, prefix, value string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	logger := log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr))
	// A client each, since the registrar's closes its watcher; and not with ctx, which ends before it deregisters.
	registers, err := etcdv3.NewClient(context.Background(), []string{endpoint}, etcdv3.ClientOptions{})
	if err != nil {
		return err
	}
	watches, err := etcdv3.NewClient(ctx, []string{endpoint}, etcdv3.ClientOptions{})
	if err != nil {
		return err
	}
	registrar := etcdv3.NewRegistrar(registers, etcdv3.Service{
		Key:   prefix + "gokit",
		Value: value,
		TTL:   etcdv3.NewTTLOption(time.Second, 2*time.Second),
	}, logger)
	registrar.Register()
	defer registrar.Deregister()

	instancer, err := etcdv3.NewInstancer(watches, prefix, logger)
	if err != nil {
		return err
	}
	events := make(chan sd.Event, 1) // Register sends what is known so far.
	instancer.Register(events)
	out := json.NewEncoder(os.Stdout)
	for {
		select {
		case event := <-events:
			heard := line{Instances: event.Instances}
			if event.Err != nil {
				heard.Error = event.Err.Error()
			}
			out.Encode(heard)
		case <-ctx.Done():
			return nil
		}
	}
}
