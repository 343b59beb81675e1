// Controls: defects planted between the clients and the server, or at a restart, which the checker must find.
package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Plant is a defect; the empty one changes nothing.
type Plant struct {
	name    string
	service *Service
	mutex   sync.Mutex
	cached  map[string]Response  // introspections
	until   map[string]time.Time // when they leave the cache
	next    map[string]string    // the refresh token that each one got
}

// rolledBackStore is for the embedded store: replicas notice that PostgreSQL went back, and stop.
const rolledBackStore = "rolled-back-store"

// plants are the names, with what each one does.
var plants = map[string]string{
	"lost-revocation":     "one in ten revocations is acknowledged and not done",
	"late-revocation":     "one in ten revocations is acknowledged 5 ms before it is done",
	"stale-introspection": "introspections are answered from a cache for 10 ms",
	"second-pair":         "one in ten retries gets another refresh token",
	"forgotten-reuse":     "reuse of an older refresh token is refused and does not end the session",
	rolledBackStore:       "at each restart the database is the one of the restart before; not with replicas",
}

func newPlant(name string, service *Service) *Plant {
	return &Plant{
		name: name, service: service,
		cached: map[string]Response{}, until: map[string]time.Time{}, next: map[string]string{},
	}
}

func (p *Plant) wrap(send Send) Send {
	defect := map[string]func(Send, Request) (Response, error){
		"lost-revocation":     p.lostRevocation,
		"late-revocation":     p.lateRevocation,
		"stale-introspection": p.staleIntrospection,
		"second-pair":         p.secondPair,
		"forgotten-reuse":     p.forgottenReuse,
	}[p.name]
	if defect == nil {
		return send
	}
	return func(request Request) (Response, error) { return defect(send, request) }
}

// acknowledged is what the server answers to a revocation.
func acknowledged(request Request) (Response, bool) {
	switch {
	case request.Path == "/oauth2/revoke":
		return Response{Status: 200}, true
	case request.Method == "DELETE" && strings.HasPrefix(request.Path, "/v1/sessions/"):
		return Response{Status: 204}, true
	}
	return Response{}, false
}

func (p *Plant) lostRevocation(send Send, request Request) (Response, error) {
	if answer, ok := acknowledged(request); ok && rand.IntN(10) == 0 {
		return answer, nil
	}
	return send(request)
}

func (p *Plant) lateRevocation(send Send, request Request) (Response, error) {
	answer, ok := acknowledged(request)
	if !ok || rand.IntN(10) != 0 {
		return send(request)
	}
	go func() {
		time.Sleep(5 * time.Millisecond)
		client := p.service.client()
		defer client.close()
		client.Send(request)
	}()
	return answer, nil
}

func (p *Plant) staleIntrospection(send Send, request Request) (Response, error) {
	if request.Path != "/oauth2/introspect" {
		return send(request)
	}
	p.mutex.Lock()
	answer, until := p.cached[request.Body], p.until[request.Body]
	p.mutex.Unlock()
	if time.Now().Before(until) {
		return answer, nil
	}
	answer, err := send(request)
	if err == nil {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.cached[request.Body], p.until[request.Body] = answer, time.Now().Add(10*time.Millisecond)
	}
	return answer, err
}

// successor is the refresh token that a request got before, "" if none. The zero request has none.
func (p *Plant) successor(request Request) string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.next[request.Body]
}

// remember notes what a refresh got.
func (p *Plant) remember(request Request, answer Response) {
	var body answerBody
	json.Unmarshal([]byte(answer.Body), &body)
	if request.Path == "/oauth2/token" && body.RefreshToken != "" {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.next[request.Body] = body.RefreshToken
	}
}

func (p *Plant) secondPair(send Send, request Request) (Response, error) {
	before := p.successor(request)
	answer, err := send(request)
	if before != "" && rand.IntN(10) == 0 {
		another := before[:40] + strings.ToUpper(before[40:60]) + before[60:]
		answer.Body = strings.Replace(answer.Body, before, another, 1)
	}
	p.remember(request, answer)
	return answer, err
}

func (p *Plant) forgottenReuse(send Send, request Request) (Response, error) {
	next := p.successor(request)
	if next != "" && p.successor(Request{Body: refreshBody(next)}) != "" {
		return Response{Status: 400, Body: `{"error":"invalid_grant"}`}, nil
	}
	answer, err := send(request)
	p.remember(request, answer)
	return answer, err
}

// restart is called while the server is stopped.
func (p *Plant) restart() error {
	if p.name != rolledBackStore {
		return nil
	}
	place := p.service.servers[0].place
	database, before := filepath.Join(place, "data", "keyfob.redb"), filepath.Join(place, "before.redb")
	current, err := os.ReadFile(database)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(before); err == nil {
		if err := os.WriteFile(database, old, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(before, current, 0o600)
}
