// Linearizability over HTTP: concurrent clients of a server that is killed and restarted.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options are the flags.
type Options struct {
	Binary, Place, Plant string
	Kills, Sessions      int
	Seed                 uint64
	Duration             time.Duration
}

func main() {
	var options Options
	target := filepath.Join("..", "..", "target")
	flag.StringVar(&options.Binary, "binary", filepath.Join(target, "release", "keyfob"), "the server")
	place := filepath.Join(target, "linearizability")
	flag.StringVar(&options.Place, "place", place, "for stores and failing histories")
	flag.IntVar(&options.Kills, "kills", 60, "how often the server is killed")
	seconds := flag.Float64("seconds", 60, "over how many seconds, without restarts")
	flag.IntVar(&options.Sessions, "sessions", 16, "sessions at once, with one to four clients each")
	flag.Uint64Var(&options.Seed, "seed", 1, "of the calls and of the times of the kills, not of their order")
	flag.StringVar(&options.Plant, "plant", "", "a defect that must be found:\n"+list())
	flag.Parse()
	options.Duration = time.Duration(*seconds * float64(time.Second))
	_, known := plants[options.Plant]
	if flag.NArg() > 0 || options.Kills < 1 || options.Duration <= 0 || options.Plant != "" && !known {
		flag.Usage()
		os.Exit(2)
	}
	if err := perform(options); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func list() string {
	lines := ""
	for _, name := range slices.Sorted(maps.Keys(plants)) {
		lines += fmt.Sprintf("%s: %s\n", name, plants[name])
	}
	return strings.TrimSuffix(lines, "\n")
}

func perform(options Options) error {
	var err error
	if options.Binary, err = filepath.Abs(options.Binary); err != nil {
		return err
	}
	if options.Place, err = filepath.Abs(options.Place); err != nil {
		return err
	}
	name := fmt.Sprintf("seed-%d%s", options.Seed, strings.TrimSuffix("-"+options.Plant, "-"))
	options.Place = filepath.Join(options.Place, name)
	if err := os.RemoveAll(options.Place); err != nil {
		return err
	}
	if err := os.MkdirAll(options.Place, 0o700); err != nil {
		return err
	}
	server, err := newServer(options.Binary, options.Place)
	if err != nil {
		return err
	}
	run := newRun(options, server)
	err = run.perform()
	found := run.checker.illegal
	fmt.Print(run.report())
	switch {
	case err != nil:
		return fmt.Errorf("%w; see %s", err, filepath.Join(options.Place, "keyfob.log"))
	case options.Plant != "" && len(found) == 0:
		return fmt.Errorf("%s was not found", options.Plant)
	case options.Plant != "":
		fmt.Printf("%s was found after %d kills, %d sessions and %.1f s: %s\n",
			options.Plant, run.kills.Load(), run.checker.sessions, run.seconds(), found[0])
		return nil
	case len(found) > 0:
		undecided := run.checker.undecided
		return fmt.Errorf("not linearizable (%d undecided): %s", undecided, strings.Join(found, ", "))
	}
	fmt.Println("every history is linearizable")
	return os.RemoveAll(options.Place)
}

func isTimeout(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}
