// The real server: started over one store, killed with SIGKILL, started again.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const startLimit = 30 * time.Second

// Server is a directory with configuration and data, and the process that serves it.
type Server struct {
	binary, place, address string
	database               *Postgres    // nil: the store is in the directory
	runs                   atomic.Int64 // how often it was started
	started                time.Time
	ready                  bool // since it was started last
	process                *Process
	log                    *os.File
}

// newServer writes the configuration.
func newServer(binary, place, address, config string, database *Postgres) (*Server, error) {
	server := &Server{binary: binary, place: place, address: address, database: database}
	if err := os.MkdirAll(place, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(place, "config.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	var err error
	server.log, err = os.Create(filepath.Join(place, "keyfob.log"))
	return server, err
}

func (s *Server) command(arguments ...string) *exec.Cmd {
	command := exec.Command(s.binary, arguments...)
	command.Dir, command.Stdout, command.Stderr = s.place, s.log, s.log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KEYFOB_") {
			command.Env = append(command.Env, variable)
		}
	}
	return command
}

func (s *Server) start() error {
	var err error
	s.started, s.ready = time.Now(), false
	s.process, err = start(s.command("serve"))
	s.runs.Add(1)
	return err
}

// wait returns when the server is ready.
func (s *Server) wait() error {
	connection := &Connection{server: s}
	defer connection.close()
	for start := time.Now(); time.Since(start) < startLimit; time.Sleep(2 * time.Millisecond) {
		answer, err := connection.Send(Request{Method: "GET", Path: "/readyz"})
		if err == nil && answer.Status == 200 {
			s.ready = true
			return nil
		}
		if s.process.running() == nil {
			continue
		}
		if err := s.running(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		if err := s.start(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is not ready after %s", s.place, startLimit)
}

// running is an error if the server ended by itself. Its start may fail while its database is down.
func (s *Server) running() error {
	err := s.process.running()
	if err != nil && !s.ready && s.database != nil && s.database.wasDown(s.started) {
		return nil
	}
	return err
}

// kill returns when the process is gone.
func (s *Server) kill() error {
	err := s.running()
	s.process.kill()
	return err
}

// stop is a clean stop.
func (s *Server) stop() error {
	if err := s.process.end(syscall.SIGTERM); err != nil {
		return fmt.Errorf("clean stop: %w", err)
	}
	return nil
}

// checkStore checks the whole database; no server may run.
func (s *Server) checkStore() error {
	if err := s.command("db", "check").Run(); err != nil {
		return fmt.Errorf("keyfob db check: %w", err)
	}
	return nil
}
