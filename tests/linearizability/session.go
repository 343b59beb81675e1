// One session: what its clients know together, and what each of them does at random.
package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	callsMax   = 56 // of one session; fewer than the 64 retries of one token that are answered
	callsAfter = 4  // of each client after the session has ended
	clientsMax = 4
)

// Session is one session and its history. Its clients, such as tabs, share all tokens that they get.
type Session struct {
	run           *Run
	number        uint64
	policy        Policy
	subject       string
	authorization string

	mutex   sync.Mutex
	session string            // the id
	labels  map[string]string // of tokens
	tokens  map[string]string // of labels
	known   map[byte][]string // labels by kind, in the order in which they were first seen
	history []porcupine.Operation
	clients int // in the history; after an unknown outcome a client goes on under a new number
	ended   bool
}

func newSession(run *Run, number uint64, random *rand.Rand) *Session {
	policy := policies[0]
	if random.IntN(4) == 0 {
		policy = policies[1+random.IntN(len(policies)-1)]
	}
	return &Session{
		run: run, number: number, policy: policy, subject: fmt.Sprintf("subject-%d", number),
		authorization: basic(string(policy), run.service.secrets[policy]),
		labels:        map[string]string{}, tokens: map[string]string{}, known: map[byte][]string{},
	}
}

// perform runs all clients, and returns when they have finished.
func (s *Session) perform(random *rand.Rand) {
	var clients sync.WaitGroup
	for range 1 + random.IntN(clientsMax) {
		own := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
		clients.Add(1)
		go func() {
			defer clients.Done()
			s.client(own)
		}()
	}
	clients.Wait()
}

func (s *Session) client(random *rand.Rand) {
	client := s.run.service.client()
	defer client.close()
	send := s.run.plant.wrap(client.Send)
	number := s.newClient()
	for left := callsAfter; left > 0 && s.run.goesOn(); {
		in, request, ended := s.choose(random)
		if in.Kind == "" {
			return
		}
		if ended {
			left--
		}
		if !s.call(send, number, in, request) {
			number = s.newClient()
		}
		if random.IntN(150) == 0 {
			s.run.afterNextKill(time.Duration(random.IntN(2000)) * time.Millisecond)
		}
	}
}

// call performs a call and records it. Returns whether its outcome is known.
func (s *Session) call(send Send, number int, in Input, request Request) bool {
	called := s.run.now()
	response, err := send(request)
	for errors.Is(err, errNotSent) {
		time.Sleep(2 * time.Millisecond)
		called = s.run.now()
		response, err = send(request)
		if !s.run.goesOn() && errors.Is(err, errNotSent) {
			return true
		}
	}
	if response.Status == 503 {
		s.run.afterOutage()
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	out := Output{Answer: unknown}
	if err == nil {
		out = s.output(in, response)
	}
	operation := porcupine.Operation{
		ClientId: number, Input: in, Call: called, Output: out, Return: math.MaxInt64,
	}
	s.run.count(in.Kind, called, response.Status, err)
	if out.Answer == unknown {
		// Without an answer, a call that changes nothing says nothing.
		if in.Kind == Introspect || in.Kind == Check || in.Kind == Read {
			return true
		}
		s.history = append(s.history, operation)
		return false
	}
	operation.Return = s.run.now()
	s.history = append(s.history, operation)
	ends := in.Kind == EndSession || in.Kind == EndSubject || in.Kind == Revoke && in.Token[0] != 'a'
	if ends || out.Answer == inactive && in.Token[0] == 's' || out.Answer == "ended by "+refreshReuse {
		s.ended = true
	}
	return true
}

func (s *Session) newClient() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.clients++
	return s.clients - 1
}

// label names a token; "" stays "".
func (s *Session) label(kind byte, token string) string {
	if token == "" || s.labels[token] != "" {
		return s.labels[token]
	}
	label := fmt.Sprintf("%c%d", kind, len(s.known[kind])+1)
	s.labels[token], s.tokens[label] = label, token
	s.known[kind] = append(s.known[kind], label)
	return label
}

// choices are the calls with their weights: the kind, the kind of token, and which of these.
var choices = []struct {
	weight int
	kind   Kind
	token  byte
	which  string
}{
	{30, Refresh, 'r', "last"}, {6, Refresh, 'r', "previous"}, {1, Refresh, 'r', "any"},
	{8, Introspect, 'r', "last"}, {5, Introspect, 'r', "any"},
	{10, Introspect, 'a', "last"}, {7, Introspect, 'a', "any"},
	{8, Introspect, 's', "last"}, {4, Check, 's', "last"}, {2, Check, 's', "any"}, {4, Check, 'a', "any"},
	{7, Read, 0, ""}, {3, Renew, 0, ""}, {3, Open, 0, ""}, {3, Revoke, 'a', "any"},
	{1, Revoke, 'r', "any"}, {1, Revoke, 's', "last"}, {1, EndSession, 0, ""}, {1, EndSubject, 0, ""},
}

// choose draws the next call. No kind: enough was done. Returns also whether the session has ended.
func (s *Session) choose(random *rand.Rand) (Input, Request, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.history) >= callsMax {
		return Input{}, Request{}, false
	}
	in := Input{Kind: Open}
	if s.session != "" {
		in = s.draw(random)
	}
	return in, s.request(in), s.ended
}

func (s *Session) draw(random *rand.Rand) Input {
	total := 0
	for _, choice := range choices {
		total += choice.weight
	}
	drawn := random.IntN(total)
	for _, choice := range choices {
		if drawn -= choice.weight; drawn >= 0 {
			continue
		}
		if choice.token == 0 {
			return Input{Kind: choice.kind}
		}
		labels := s.known[choice.token]
		at := len(labels) - 1
		switch {
		case choice.which == "any":
			at = random.IntN(len(labels))
		case choice.which == "previous" && at > 0:
			at--
		}
		return Input{choice.kind, labels[at]}
	}
	panic("the weights add up to the total")
}
