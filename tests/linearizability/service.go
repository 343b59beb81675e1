// What the clients call: one server with a store of its own, or replicas over one PostgreSQL.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Target is what can be killed and started again.
type Target interface {
	kill() error
	start() error
	wait() error
}

// Service is all processes of a run, and the secret of each policy's client.
type Service struct {
	servers  []*Server
	database *Postgres // nil: the embedded store
	secrets  map[Policy]string
}

// Times are longer than a session of a run, so that the model needs no clock.
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

const sharedStore = `
[store]
url = %q
require_synchronous = false
replica = %q
`

var policies = []Policy{Retry, Strict, Refuse}

// newService prepares everything, and starts no server yet.
func newService(options Options) (*Service, error) {
	service := &Service{secrets: map[Policy]string{}}
	ports, err := freePorts(max(options.Replicas, 1))
	if err != nil {
		return nil, err
	}
	clients := service.clients()
	if len(ports) > 1 {
		if service.database, err = newPostgres(options.Place); err != nil {
			return nil, err
		}
	}
	for number, port := range ports {
		address, place, store := fmt.Sprintf("127.0.0.1:%d", port), options.Place, ""
		if service.database != nil {
			name := fmt.Sprintf("k%d", number+1)
			place = filepath.Join(place, name)
			store = fmt.Sprintf(sharedStore, service.database.url(), name)
		}
		config := fmt.Sprintf("[server]\nlisten = %q\nissuer = \"http://127.0.0.1:%d\"\n", address, ports[0])
		config += store + settings + clients
		server, err := newServer(options.Binary, place, address, config, service.database)
		if err != nil {
			return nil, err
		}
		service.servers = append(service.servers, server)
	}
	if service.database != nil {
		return service, service.share()
	}
	return service, nil
}

// freePorts are below the ports of outgoing connections: a client of a stopped server cannot connect to
// itself.
func freePorts(count int) ([]int, error) {
	var ports []int
	for port := 20000 + os.Getpid()%5000; port < 32000 && len(ports) < count; port++ {
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			listener.Close()
			ports = append(ports, port)
		}
	}
	if len(ports) < count {
		return nil, fmt.Errorf("fewer than %d free ports from 20000 to 32000", count)
	}
	return ports, nil
}

// clients makes for each policy one client of the same name, and returns their configuration.
func (s *Service) clients() string {
	var config strings.Builder
	for _, policy := range policies {
		random := make([]byte, 32)
		rand.Read(random)
		secret := "kfc_" + base64.RawURLEncoding.EncodeToString(random)
		hash := sha256.Sum256([]byte(secret))
		s.secrets[policy] = secret
		fmt.Fprintf(&config, client, policy, policy, hex.EncodeToString(hash[:]))
	}
	return config.String()
}

// share creates the schema, and gives every replica the master key and the administrator of the first.
func (s *Service) share() error {
	if err := s.database.start(); err != nil {
		return err
	}
	if err := s.database.wait(); err != nil {
		return err
	}
	first, others := s.servers[0], s.servers[1:]
	if err := first.command("init").Run(); err != nil {
		return fmt.Errorf("keyfob init: %w", err)
	}
	for _, name := range []string{"master.key", "admin.json"} {
		content, err := os.ReadFile(filepath.Join(first.place, "data", name))
		if err != nil {
			return err
		}
		for _, other := range others {
			data := filepath.Join(other.place, "data")
			if err := os.MkdirAll(data, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// start starts all servers and returns when they are ready.
func (s *Service) start() error {
	for _, server := range s.servers {
		if err := server.start(); err != nil {
			return err
		}
	}
	return s.wait()
}

// wait returns when everything is ready.
func (s *Service) wait() error {
	for _, target := range s.targets() {
		if err := target.wait(); err != nil {
			return err
		}
	}
	return nil
}

// startTime is about how long a process takes to start and recover.
func (s *Service) startTime() time.Duration {
	if s.database != nil {
		return 500 * time.Millisecond
	}
	return 40 * time.Millisecond
}

// targets are the processes, the database first.
func (s *Service) targets() []Target {
	var targets []Target
	if s.database != nil {
		targets = append(targets, s.database)
	}
	for _, server := range s.servers {
		targets = append(targets, server)
	}
	return targets
}

// stop is a clean stop of everything, with a check of the whole store.
func (s *Service) stop() error {
	for _, server := range s.servers {
		if err := server.stop(); err != nil {
			return err
		}
	}
	if err := s.servers[0].checkStore(); err != nil {
		return err
	}
	if s.database != nil {
		return s.database.stop()
	}
	return nil
}

func (s *Service) kill() {
	for _, target := range s.targets() {
		target.kill()
	}
}

// places are the directories with logs and stores.
func (s *Service) places() string {
	var places []string
	for _, server := range s.servers {
		places = append(places, server.place)
	}
	if s.database != nil {
		places = append(places, s.database.place)
	}
	return strings.Join(places, ", ")
}

func (s *Service) removeDatabase() error {
	if s.database == nil {
		return nil
	}
	return os.RemoveAll(s.database.place)
}
