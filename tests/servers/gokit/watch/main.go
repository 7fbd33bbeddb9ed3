// Command watch is a program that watches services of a Consul by go-kit's instancers, for the benchmarks.
//
// It takes commands on its input, a line each: "watch NAME" and "watch NAME COUNT", which is NAME-0 to
// NAME-(COUNT-1), and "close". Each list that it then holds is a line on its output: the time in nanoseconds
// since 1970, the service, how many instances it has, and the sum of their ports.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/kit/sd"
	kitconsul "github.com/go-kit/kit/sd/consul"
	"github.com/go-kit/log"
	consul "github.com/hashicorp/consul/api"
)

var output sync.Mutex

func say(format string, values ...any) {
	output.Lock()
	defer output.Unlock()
	fmt.Printf(format+"\n", values...)
}

func main() {
	address := flag.String("consul", "127.0.0.1:8500", "the agent's `address`")
	flag.Parse()
	raw, err := consul.NewClient(&consul.Config{Address: *address})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := kitconsul.NewClient(raw)
	var instancers []*kitconsul.Instancer
	say("ready")
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		words := strings.Fields(input.Text())
		switch {
		case len(words) > 0 && words[0] == "watch":
			for _, service := range names(words[1:]) {
				instancers = append(instancers, watch(client, service))
			}
		case len(words) > 0 && words[0] == "close":
			began := time.Now()
			for _, instancer := range instancers {
				instancer.Stop()
			}
			say("closed %d", time.Since(began).Nanoseconds())
			instancers = nil
		}
	}
}

func names(words []string) []string {
	if len(words) == 1 {
		return words
	}
	count, _ := strconv.Atoi(words[1])
	found := make([]string, count)
	for number := range found {
		found[number] = fmt.Sprintf("%s-%d", words[0], number)
	}
	return found
}

func watch(client kitconsul.Client, service string) *kitconsul.Instancer {
	instancer := kitconsul.NewInstancer(client, log.NewNopLogger(), service, nil, true)
	events := make(chan sd.Event, 1) // Register sends what is known so far.
	instancer.Register(events)
	go func() {
		for event := range events {
			if event.Err == nil {
				at := time.Now().UnixNano()
				say("%d %s %d %d", at, service, len(event.Instances), ports(event.Instances))
			}
		}
	}()
	return instancer
}

func ports(instances []string) (sum int) {
	for _, instance := range instances {
		port, _ := strconv.Atoi(instance[strings.LastIndexByte(instance, ':')+1:])
		sum += port
	}
	return sum
}
