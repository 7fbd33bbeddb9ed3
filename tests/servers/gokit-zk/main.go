// Command gokit-zk is a service as one writes it with go-kit: it registers itself with ZooKeeper, and watches who
// else offers the same. Each thing that it hears is a line of JSON on its output. SIGTERM ends it, and its
// session with it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-kit/kit/sd"
	kitzk "github.com/go-kit/kit/sd/zk"
	"github.com/go-kit/log"
)

// line is what an event of the instancer holds: the data of the service's nodes.
type line struct {
	Instances []string `json:"instances"`
	Error     string   `json:"error,omitempty"`
}

func main() {
	server := flag.String("zookeeper", "127.0.0.1:2181", "the server's `address`")
	path := flag.String("path", "/services", "the `path` above all services")
	service := flag.String("service", "greeter", "the service's `name`")
	data := flag.String("data", "", "what the instance's `node` holds: its address")
	flag.Parse()
	if err := run(*server, *path, *service, *data); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(server, path, service, data string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	logger := log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr))
	client, err := kitzk.NewClient([]string{server}, logger)
	if err != nil {
		return err
	}
	defer client.Stop()
	registrar := kitzk.NewRegistrar(client, kitzk.Service{Path: path, Name: service, Data: []byte(data)}, logger)
	registrar.Register() // Its Deregister removes the service's node, not the instance's: the session's end does.

	instancer, err := kitzk.NewInstancer(client, path+"/"+service, logger)
	if err != nil {
		return err
	}
	defer instancer.Stop()
	events := make(chan sd.Event, 16) // Register sends what is known so far.
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
		case <-stop:
			return nil
		}
	}
}
