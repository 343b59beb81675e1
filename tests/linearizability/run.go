// A run: sessions at once, kills at random moments, and a checker for each finished session.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Run is shared by all sessions.
type Run struct {
	options Options
	service *Service
	plant   *Plant
	start   time.Time
	over    atomic.Bool
	kills   atomic.Int64
	early   int // kills before everything was ready
	ofStore int // kills of PostgreSQL
	checker Checker

	mutex  sync.Mutex
	killed *sync.Cond // with the mutex, when a kill has happened
	calls  map[Kind]int
	lost   map[Kind]int // calls with unknown outcome: connection lost or closed

	outages     int // calls that are 503 or had no answer in time, while PostgreSQL was down
	unavailable int // other answers 503
	late        int // other calls without an answer in all their time
}

func newRun(options Options, service *Service) *Run {
	run := &Run{
		options: options, service: service, plant: newPlant(options.Plant, service), start: time.Now(),
		calls: map[Kind]int{}, lost: map[Kind]int{}, checker: Checker{place: options.Place},
	}
	run.killed = sync.NewCond(&run.mutex)
	return run
}

// now is monotonic, in nanoseconds.
func (r *Run) now() int64 { return int64(time.Since(r.start)) }

func (r *Run) goesOn() bool { return !r.over.Load() }

// afterNextKill waits for it, or for the longest time.
func (r *Run) afterNextKill(longest time.Duration) {
	before := r.kills.Load()
	for end := time.Now().Add(longest); r.kills.Load() == before && r.goesOn() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// afterOutage waits until PostgreSQL is up again. Else the calls of unknown outcome would fill the histories,
// and the time to check one grows with them. One time in eight it stops waiting, so that outages have calls.
func (r *Run) afterOutage() {
	const pause = 200 * time.Millisecond
	r.sleep(pause)
	for database := r.service.database; database != nil && !database.isUp() && r.goesOn(); {
		if rand.IntN(8) == 0 {
			return
		}
		r.sleep(pause)
	}
}

// count notes what came of a call that was sent at this time.
func (r *Run) count(kind Kind, called int64, status int, err error) {
	database := r.service.database
	isExcused := database != nil && database.wasDown(r.start.Add(time.Duration(called)))
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.calls[kind]++
	switch {
	case isExcused && (isTimeout(err) || err == nil && status == 503):
		r.outages++
		r.lost[kind]++
	case err == nil && status == 503:
		r.unavailable++
	case isTimeout(err):
		r.late++
	case err != nil:
		r.lost[kind]++
	}
}

// perform does everything: it returns an error if the server, not the checker, is at fault.
func (r *Run) perform() error {
	if err := r.service.start(); err != nil {
		return err
	}
	var workers sync.WaitGroup
	var numbers atomic.Uint64
	for range r.options.Sessions {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for r.goesOn() {
				number := numbers.Add(1)
				random := rand.New(rand.NewPCG(r.options.Seed, number))
				session := newSession(r, number, random)
				session.perform(random)
				if !r.checker.check(session) {
					r.over.Store(true)
				}
			}
		}()
	}
	err := r.killAgainAndAgain()
	r.over.Store(true)
	workers.Wait()
	if err != nil || r.options.Plant != "" {
		r.service.kill()
		return err
	}
	return cmp.Or(r.service.stop(), r.faults())
}

// faults are what no history shows.
func (r *Run) faults() error {
	switch {
	case r.late > 0:
		return fmt.Errorf("%d calls had no answer in %s", r.late, patience)
	case r.unavailable > 0:
		return fmt.Errorf("%d answers were 503, and the store could answer", r.unavailable)
	case r.checker.cutOff == 0:
		return errors.New("no kill cut off a call: make more of them")
	}
	return nil
}

func (r *Run) killAgainAndAgain() error {
	random := rand.New(rand.NewPCG(r.options.Seed, 0))
	longest := 2 * r.options.Duration / time.Duration(r.options.Kills)
	for r.kills.Load() < int64(r.options.Kills) && r.goesOn() {
		// One kill in eight comes while something starts and the store recovers.
		if random.IntN(8) == 0 {
			time.Sleep(time.Duration(random.Int64N(int64(r.service.startTime()))))
			r.early++
		} else if err := r.service.wait(); err != nil {
			return err
		} else {
			r.sleep(time.Duration(random.Int64N(int64(longest))))
		}
		if !r.goesOn() {
			break
		}
		if err := r.killOne(random); err != nil {
			return err
		}
	}
	if err := r.service.wait(); err != nil {
		return err
	}
	// What the last kill cut off is tried again.
	r.sleep(longest / 2)
	return r.service.wait()
}

// killOne kills a process, PostgreSQL one time in five, and starts it again.
func (r *Run) killOne(random *rand.Rand) error {
	servers := r.service.servers
	var target Target = servers[random.IntN(len(servers))]
	if r.service.database != nil && random.IntN(5) == 0 {
		target = r.service.database
		r.ofStore++
	}
	if err := target.kill(); err != nil {
		return err
	}
	if err := r.plant.restart(); err != nil {
		return err
	}
	if err := target.start(); err != nil {
		return err
	}
	r.kills.Add(1)
	return nil
}

// sleep ends early with the run.
func (r *Run) sleep(duration time.Duration) {
	for end := time.Now().Add(duration); r.goesOn() && time.Now().Before(end); {
		time.Sleep(min(time.Until(end), 10*time.Millisecond))
	}
}

func (r *Run) seconds() float64 { return time.Since(r.start).Seconds() }

func (r *Run) report() string {
	calls, lost, lines := 0, 0, ""
	kinds := []Kind{Open, Renew, Refresh, Introspect, Check, Read, Revoke, EndSession, EndSubject}
	for _, kind := range kinds {
		calls += r.calls[kind]
		lost += r.lost[kind]
		lines += fmt.Sprintf("  %-24s %8d  unknown %6d\n", kind, r.calls[kind], r.lost[kind])
	}
	kills := fmt.Sprintf("%d kills in %.0f s, %d during a start\n", r.kills.Load(), r.seconds(), r.early)
	if r.service.database != nil {
		kills += fmt.Sprintf("%d of them of PostgreSQL; %d calls of unknown outcome are of its outages\n",
			r.ofStore, r.outages)
	}
	outcomes := fmt.Sprintf("%d calls, %d with unknown outcome; 503: %d; no answer in %s: %d\n",
		calls, lost, r.unavailable, patience, r.late)
	return kills + outcomes + lines + r.checker.report()
}
