// A PostgreSQL of the run's own. Every process of it can be killed at once, as by a crash of the machine.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long after its recovery an outage may show: replicas connect anew every half second, and a commit that
// was sent to a connection that is lost is given up after some seconds.
const aftermath = 5 * time.Second

// Postgres is a cluster in a directory of its own, with a socket there and every commit synced.
type Postgres struct {
	programs, place string
	credential      *syscall.Credential // nil: our own user
	process         *Process
	log             *os.File

	mutex sync.Mutex
	up    time.Time // since when it accepts connections; zero while it is down
}

// newPostgres creates the cluster. Its log is where the logs of the run are.
func newPostgres(logs string) (*Postgres, error) {
	programs, err := newestPostgres()
	if err != nil {
		return nil, err
	}
	postgres := &Postgres{programs: programs}
	if postgres.log, err = os.Create(filepath.Join(logs, "postgres.log")); err != nil {
		return nil, err
	}
	if postgres.place, err = os.MkdirTemp("", "keyfob-linearizability-"); err != nil {
		return nil, err
	}
	if err := postgres.asOrdinaryUser(); err != nil {
		return nil, err
	}
	initialise := postgres.command("initdb", "--pgdata", postgres.data(), "--username", "keyfob",
		"--auth", "trust", "--encoding", "UTF8", "--no-locale")
	if err := initialise.Run(); err != nil {
		return nil, fmt.Errorf("initdb: %w; see %s", err, postgres.log.Name())
	}
	return postgres, nil
}

// newestPostgres is the directory of the programs of Debian's newest PostgreSQL.
func newestPostgres() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("install the Debian package postgresql first")
	}
	version := func(path string) int {
		number, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return number
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// asOrdinaryUser is for root, as which PostgreSQL does not run.
func (p *Postgres) asOrdinaryUser() error {
	if os.Geteuid() != 0 {
		return nil
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(postgres.Uid)
	gid, _ := strconv.Atoi(postgres.Gid)
	p.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(p.place, uid, gid)
}

func (p *Postgres) data() string { return filepath.Join(p.place, "data") }

// url is that of the database that every cluster has.
func (p *Postgres) url() string {
	return "postgres://keyfob@" + strings.ReplaceAll(p.place, "/", "%2F") + "/postgres"
}

func (p *Postgres) command(program string, arguments ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(p.programs, program), arguments...)
	command.Dir, command.Stdout, command.Stderr = "/", p.log, p.log
	command.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	return command
}

func (p *Postgres) start() error {
	var err error
	// It syncs its directory before it recovers: as a whole, because each file by itself takes seconds.
	p.process, err = start(p.command("postgres", "-D", p.data(), "-k", p.place, "-c", "listen_addresses=",
		"-c", "recovery_init_sync_method=syncfs"))
	return err
}

// wait returns when it accepts connections: after a crash, when it has recovered.
func (p *Postgres) wait() error {
	for start := time.Now(); time.Since(start) < startLimit; time.Sleep(20 * time.Millisecond) {
		if p.command("pg_isready", "--quiet", "--host", p.place).Run() == nil {
			if !p.isUp() {
				p.setUp(time.Now())
			}
			return nil
		}
		// It does not start while a process of the run before is there.
		err := p.process.running()
		if err != nil && !p.isUp() {
			err = p.start()
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("PostgreSQL does not accept connections after %s; see %s", startLimit, p.log.Name())
}

func (p *Postgres) isUp() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return !p.up.IsZero()
}

func (p *Postgres) setUp(since time.Time) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.up = since
}

// wasDown returns whether it was down, or had just recovered, at this time or later.
func (p *Postgres) wasDown(since time.Time) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.up.IsZero() || since.Before(p.up.Add(aftermath))
}

// kill ends all processes of the cluster.
func (p *Postgres) kill() error {
	if err := p.process.running(); err != nil && p.isUp() {
		return err
	}
	p.setUp(time.Time{})
	// The first process is stopped meanwhile: it starts no other, and does not react to the end of one.
	p.process.command.Process.Signal(syscall.SIGSTOP)
	for _, child := range childrenOf(p.process.pid()) {
		syscall.Kill(child, syscall.SIGKILL)
	}
	p.process.kill()
	return nil
}

// childrenOf are the processes that a process has started.
func childrenOf(parent int) []int {
	var children []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		// The name of the program ends with the last parenthesis; state and parent follow.
		stat, _ := os.ReadFile(path)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			child, _ := strconv.Atoi(strings.Split(path, "/")[2])
			children = append(children, child)
		}
	}
	return children
}

// stop ends all connections, and stops in order.
func (p *Postgres) stop() error {
	if err := p.process.end(syscall.SIGINT); err != nil {
		return fmt.Errorf("stop of PostgreSQL: %w; see %s", err, p.log.Name())
	}
	return nil
}
