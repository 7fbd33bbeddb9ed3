// Command picks times go-kit's balancers. Each line on its input is a number of instances: for that it times
// one round of each, for about 20 ms, and answers a line of JSON with the nanoseconds of a call. It ends with
// its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/lb"
	"github.com/go-kit/log"
)

const round = 20 * time.Millisecond

func main() {
	out := json.NewEncoder(os.Stdout)
	made := map[int]map[string]func() error{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		count, err := strconv.Atoi(lines.Text())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if made[count] == nil {
			made[count] = candidates(count)
		}
		took := map[string]float64{}
		for name, call := range made[count] {
			if took[name], err = timed(call); err != nil {
				fmt.Fprintln(os.Stderr, name, err)
				os.Exit(1)
			}
		}
		out.Encode(took)
	}
}

// candidates are what a program picks and calls with, over the endpointer that it has with a registry too.
func candidates(count int) map[string]func() error {
	endpointer := sd.NewEndpointer(instances(count), noop, log.NewNopLogger())
	for { // It takes the instances in by a goroutine of its own.
		if found, _ := endpointer.Endpoints(); len(found) == count {
			break
		}
		time.Sleep(time.Millisecond)
	}
	roundRobin := lb.NewRoundRobin(endpointer)
	random := lb.NewRandom(endpointer, 1)
	retry := lb.Retry(3, 5*time.Second, roundRobin)
	ctx := context.Background()
	return map[string]func() error{
		"endpoints":   func() error { _, err := endpointer.Endpoints(); return err },
		"round robin": func() error { _, err := roundRobin.Endpoint(); return err },
		"random":      func() error { _, err := random.Endpoint(); return err },
		"retry":       func() error { _, err := retry(ctx, nil); return err },
	}
}

func instances(count int) sd.FixedInstancer {
	found := make(sd.FixedInstancer, count)
	for number := range found {
		found[number] = fmt.Sprintf("10.0.%d.%d:8080", number/250, number%250)
	}
	return found
}

func noop(string) (endpoint.Endpoint, io.Closer, error) {
	return func(context.Context, any) (any, error) { return nil, nil }, nil, nil
}

// timed is the nanoseconds of a call, over about a round.
func timed(call func() error) (float64, error) {
	began := time.Now()
	for count := 0; ; {
		for range 1000 { // So that the clock, which is read after them, weighs nothing.
			if err := call(); err != nil {
				return 0, err
			}
		}
		count += 1000
		if took := time.Since(began); took >= round {
			return float64(took.Nanoseconds()) / float64(count), nil
		}
	}
}
