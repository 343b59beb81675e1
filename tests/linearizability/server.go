// The real server: started over one store, killed with SIGKILL, started again.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const startLimit = 30 * time.Second

// Server is a store with the process that serves it.
type Server struct {
	binary, place, address string
	secrets                map[Policy]string
	runs                   atomic.Int64 // how often it was started
	process                *exec.Cmd
	exited                 chan error
	log                    *os.File
}

// Times are longer than a run, so that the model needs no clock.
const settings = `
[log]
level = "error"
[policy.default]
access_token_ttl = "2h"
[policy.retry]
refresh_retry_window = "5m"
[policy.strict]
refresh_retry_window = "0s"
[policy.refuse]
refresh_retry_window = "0s"
late_retry = "refuse"
`

const client = `
[[client]]
client_id = %q
policy = %q
secret_sha256 = %q
permissions = ["sessions", "introspect"]
grants = ["refresh_token"]
scopes = ["read"]
`

var policies = []Policy{Retry, Strict, Refuse}

// newServer writes the configuration: for each policy one client of the same name.
func newServer(binary, place string) (*Server, error) {
	server := &Server{binary: binary, place: place, secrets: map[Policy]string{}}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	server.address = fmt.Sprintf("127.0.0.1:%d", port)
	var config strings.Builder
	fmt.Fprintf(&config, "[server]\nlisten = %q\nissuer = \"http://%s\"\n", server.address, server.address)
	config.WriteString(settings)
	for _, policy := range policies {
		random := make([]byte, 32)
		rand.Read(random)
		secret := "kfc_" + base64.RawURLEncoding.EncodeToString(random)
		hash := sha256.Sum256([]byte(secret))
		server.secrets[policy] = secret
		fmt.Fprintf(&config, client, policy, policy, hex.EncodeToString(hash[:]))
	}
	if err := os.WriteFile(filepath.Join(place, "config.toml"), []byte(config.String()), 0o600); err != nil {
		return nil, err
	}
	server.log, err = os.Create(filepath.Join(place, "keyfob.log"))
	return server, err
}

// freePort is below the ports of outgoing connections: a client of a stopped server cannot connect to itself.
func freePort() (int, error) {
	for port := 20000 + os.Getpid()%5000; port < 32000; port++ {
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port from 20000 to 32000")
}

func (s *Server) command(arguments ...string) *exec.Cmd {
	command := exec.Command(s.binary, arguments...)
	command.Dir, command.Stdout, command.Stderr = s.place, s.log, s.log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KEYFOB_") {
			command.Env = append(command.Env, variable)
		}
	}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command
}

func (s *Server) start() error {
	s.process = s.command("serve")
	if err := s.process.Start(); err != nil {
		return err
	}
	s.runs.Add(1)
	process, exited := s.process, make(chan error, 1)
	s.exited = exited
	go func() { exited <- process.Wait() }()
	return nil
}

// wait returns when the server is ready.
func (s *Server) wait() error {
	connection := Connection{server: s}
	defer connection.close()
	for start := time.Now(); time.Since(start) < startLimit; time.Sleep(2 * time.Millisecond) {
		answer, err := connection.Send(Request{Method: "GET", Path: "/readyz"})
		if err == nil && answer.Status == 200 {
			return nil
		}
		if err := s.running(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server is not ready after %s", startLimit)
}

// running is an error if the server stopped by itself.
func (s *Server) running() error {
	select {
	case err := <-s.exited:
		s.exited <- err
		return fmt.Errorf("the server stopped by itself: %v", err)
	default:
		return nil
	}
}

// kill returns when the process is gone.
func (s *Server) kill() error {
	if err := s.running(); err != nil {
		return err
	}
	s.process.Process.Kill()
	<-s.exited
	return nil
}

// stop is a clean stop, and then a check of the whole database.
func (s *Server) stop() error {
	s.process.Process.Signal(syscall.SIGTERM)
	if err := <-s.exited; err != nil {
		return fmt.Errorf("clean stop: %w", err)
	}
	if err := s.command("db", "check").Run(); err != nil {
		return fmt.Errorf("keyfob db check: %w", err)
	}
	return nil
}
