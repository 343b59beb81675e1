// The sequential model of one session, from docs/tokens.md and decisions 0003 and 0031, not from the source.
package main

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Kind is what a call does.
type Kind string

const (
	Open          Kind = "open"
	Renew         Kind = "renew"
	Refresh       Kind = "refresh"
	Introspect    Kind = "introspect"
	Check         Kind = "check"
	Read          Kind = "read"
	Revoke        Kind = "revoke"
	EndSession    Kind = "end session"
	EndSubject    Kind = "end sessions of subject"
	unknown            = "unknown"
	opened             = "opened"
	renewed            = "renewed"
	conflict           = "conflict"
	pair               = "pair"
	invalidGrant       = "invalid_grant"
	active             = "active"
	inactive           = "inactive"
	done               = "done"
	refreshReuse       = "refresh_reuse"
	sessionLogout      = "logout"
)

// Input is a call. Token is a label: s1 (session token), r1, r2 (refresh tokens), a1, a2 (access tokens).
type Input struct {
	Kind  Kind
	Token string
}

// Output is an answer: one of the words above, with the labels of its tokens. An answer that no call may
// have, such as status 500, is a text.
type Output struct {
	Answer                   string
	Session, Refresh, Access string
}

// Policy is what the previous refresh token gets.
type Policy string

const (
	Retry  Policy = "retry"  // the same pair: refresh_retry_window is longer than the run
	Strict Policy = "strict" // reuse: refresh_retry_window is 0s
	Refuse Policy = "refuse" // invalid_grant, and the session goes on: the same with late_retry = "refuse"
)

type stage int

const (
	absent   stage = iota
	fresh          // as it was opened: the opening can be repeated
	touched        // only an access token was revoked: whether the opening can be repeated is left open
	inUse          // refreshed or renewed: the opening cannot be repeated
	hasEnded       // by the reason in the state
)

// state is comparable, for porcupine. A token whose answer was lost is "" until a later answer shows it.
type state struct {
	stage             stage
	generation        int
	session           string
	previous, current string // refresh tokens
	access            string // the access token of the current generation
	issued, revoked   string // labels with a space in front: all tokens shown, and revoked access tokens
	replaced          string // labels of all tokens before the last renewal
	reason            string // of the end
}

func has(labels, label string) bool { return strings.Contains(labels+" ", " "+label+" ") }

func (s *state) end(reason string) {
	if s.stage != hasEnded {
		s.stage, s.reason = hasEnded, reason
	}
}

// show sets a token at its first appearance, and compares it later.
func (s *state) show(known *string, label string) bool {
	if *known != "" {
		return *known == label
	}
	if label == "" || has(s.issued, label) {
		return false
	}
	*known = label
	s.issued += " " + label
	return true
}

// again is the access token of a repeated answer: the same, unless it was revoked; then another one.
func (s *state) again(label string) bool {
	if !has(s.revoked, s.access) || s.access == "" {
		return s.show(&s.access, label)
	}
	var another string
	return s.show(&another, label)
}

func (s *state) showOpening(out Output) bool {
	return s.show(&s.session, out.Session) && s.show(&s.current, out.Refresh)
}

func (s state) open(out Output) (bool, state) {
	lost := out.Answer == unknown
	switch s.stage {
	case absent:
		s.stage = fresh
		return lost || out.Answer == opened && s.showOpening(out) && s.show(&s.access, out.Access), s
	case fresh, touched:
		if lost || out.Answer == conflict {
			return lost || s.stage == touched, s
		}
		return out.Answer == opened && s.showOpening(out) && s.again(out.Access), s
	}
	return lost || out.Answer == conflict, s
}

// renew replaces all tokens. Tokens of a lost answer are never shown; the next renewal replaces them too.
func (s state) renew(out Output) (bool, state) {
	lost := out.Answer == unknown
	switch s.stage {
	case absent:
		return false, s
	case hasEnded:
		return lost || out.Answer == conflict, s
	}
	s = state{stage: inUse, issued: s.issued, revoked: s.revoked, replaced: s.issued}
	return lost || out.Answer == renewed && s.showOpening(out) && s.show(&s.access, out.Access), s
}

func (s state) refresh(policy Policy, token string, out Output) (bool, state) {
	lost := out.Answer == unknown
	refused := lost || out.Answer == invalidGrant
	switch {
	case s.stage == absent || !has(s.issued, token):
		return false, s
	case s.stage == hasEnded || has(s.replaced, token):
		return refused, s
	case token == s.current:
		s.stage, s.generation = inUse, s.generation+1
		s.previous, s.current, s.access = token, "", ""
		shown := out.Answer == pair && s.show(&s.current, out.Refresh) && s.show(&s.access, out.Access)
		return lost || shown, s
	case token == s.previous && policy == Retry:
		return lost || out.Answer == pair && s.show(&s.current, out.Refresh) && s.again(out.Access), s
	case token == s.previous && policy == Refuse:
		return refused, s
	}
	s.end(refreshReuse)
	return refused, s
}

func (s state) revoke(token string, out Output) (bool, state) {
	if !has(s.issued, token) {
		return false, s
	}
	replaced := has(s.replaced, token)
	switch {
	case token[0] == 's': // a logout with an old token too
		s.end(sessionLogout)
	case token[0] == 'r' && !replaced:
		s.end("token_revoked")
	case token[0] == 'a' && !replaced:
		if s.stage == fresh {
			s.stage = touched
		}
		if !has(s.revoked, token) {
			s.revoked += " " + token
		}
	}
	return out.Answer == done || out.Answer == unknown, s
}

func (s state) isActive(token string) bool {
	if s.stage == absent || s.stage == hasEnded || !has(s.issued, token) || has(s.replaced, token) {
		return false
	}
	return token[0] == 's' || token == s.current || token[0] == 'a' && !has(s.revoked, token)
}

func (s state) introspect(token string, out Output) (bool, state) {
	return out.Answer == map[bool]string{true: active, false: inactive}[s.isActive(token)], s
}

func (s state) read(out Output) (bool, state) {
	expected := fmt.Sprintf("active in generation %d", s.generation)
	if s.stage == hasEnded {
		expected = "ended by " + s.reason
	}
	return s.stage != absent && out.Answer == expected, s
}

func (s state) endSession(out Output) (bool, state) {
	known := s.stage != absent
	s.end(sessionLogout)
	return known && (out.Answer == done || out.Answer == unknown), s
}

// endSubject answers how many sessions it has ended; the subject has one.
func (s state) endSubject(out Output) (bool, state) {
	known, expected := s.stage != absent, "ended 1"
	if s.stage == hasEnded {
		expected = "ended 0"
	}
	s.end("subject_revoked")
	return known && (out.Answer == expected || out.Answer == unknown), s
}

func step(policy Policy, s state, in Input, out Output) (bool, state) {
	switch in.Kind {
	case Open:
		return s.open(out)
	case Renew:
		return s.renew(out)
	case Refresh:
		return s.refresh(policy, in.Token, out)
	case Revoke:
		return s.revoke(in.Token, out)
	case EndSession:
		return s.endSession(out)
	case EndSubject:
		return s.endSubject(out)
	case Read:
		return s.read(out)
	}
	return s.introspect(in.Token, out)
}

func model(policy Policy) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) { return step(policy, s.(state), in.(Input), out.(Output)) },
		DescribeOperation: func(in, out any) string {
			i, o := in.(Input), out.(Output)
			words := []string{string(i.Kind), i.Token, "=", o.Answer, o.Session, o.Refresh, o.Access}
			return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}
