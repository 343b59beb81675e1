// Linearizability over HTTP: concurrent clients of a server, or of replicas, killed and restarted.
package main

import (
	"cmp"
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
	Replicas             int
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
	flag.IntVar(&options.Replicas, "replicas", 1, "of the server, over one PostgreSQL, which is killed too;\n"+
		"with 1 the store is embedded, and there is no PostgreSQL")
	flag.IntVar(&options.Kills, "kills", 60, "how often a process is killed")
	seconds := flag.Float64("seconds", 60, "over how many seconds, without restarts")
	flag.IntVar(&options.Sessions, "sessions", 16, "sessions at once, with one to four clients each")
	flag.Uint64Var(&options.Seed, "seed", 1, "of the calls and of the times of the kills, not of their order")
	flag.StringVar(&options.Plant, "plant", "", "a defect that must be found:\n"+list())
	flag.Parse()
	options.Duration = time.Duration(*seconds * float64(time.Second))
	if flag.NArg() > 0 || options.Kills < 1 || options.Duration <= 0 || !options.hasPlant() {
		flag.Usage()
		os.Exit(2)
	}
	if err := perform(options); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

// hasPlant returns whether there is such a defect, for this store.
func (o Options) hasPlant() bool {
	_, known := plants[o.Plant]
	return o.Plant == "" || known && (o.Replicas <= 1 || o.Plant != rolledBackStore)
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
	if options.Replicas > 1 {
		name += "-replicas"
	}
	options.Place = filepath.Join(options.Place, name)
	if err := os.RemoveAll(options.Place); err != nil {
		return err
	}
	if err := os.MkdirAll(options.Place, 0o700); err != nil {
		return err
	}
	service, err := newService(options)
	if err != nil {
		return err
	}
	run := newRun(options, service)
	err = run.perform()
	found, undecided := run.checker.illegal, run.checker.undecided
	fmt.Print(run.report())
	switch {
	case err != nil:
		return fmt.Errorf("%w; see %s", err, service.places())
	case options.Plant != "" && len(found) == 0:
		return fmt.Errorf("%s was not found", options.Plant)
	case options.Plant != "":
		fmt.Printf("%s was found after %d kills, %d sessions and %.1f s: %s\n",
			options.Plant, run.kills.Load(), run.checker.sessions, run.seconds(), found[0])
		return service.removeDatabase()
	case len(found)+len(undecided) > 0:
		return fmt.Errorf("not linearizable: [%s]; not decided in a minute: [%s]; see %s",
			strings.Join(found, ", "), strings.Join(undecided, ", "), service.places())
	}
	fmt.Println("every history is linearizable")
	return cmp.Or(service.removeDatabase(), os.RemoveAll(options.Place))
}

func isTimeout(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}
