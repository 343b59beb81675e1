// The independent checker, porcupine: whether the history of a session is linearizable.
package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const checkLimit = time.Minute

// Checker counts what it has checked and keeps the first histories that are not linearizable.
type Checker struct {
	place     string
	mutex     sync.Mutex
	sessions  int
	cutOff    int // sessions with an unknown outcome
	longest   time.Duration
	illegal   []string
	undecided []string
}

// check returns whether the session is linearizable.
func (c *Checker) check(session *Session) bool {
	start := time.Now()
	model := model(session.policy)
	result, information := porcupine.CheckOperationsVerbose(model, closed(session.history), checkLimit)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.longest = max(c.longest, time.Since(start))
	c.sessions++
	if slices.ContainsFunc(session.history, isUnknown) {
		c.cutOff++
	}
	if result == porcupine.Ok {
		return true
	}
	path := filepath.Join(c.place, fmt.Sprintf("session-%d", session.number))
	if result == porcupine.Unknown {
		c.undecided = append(c.undecided, path+".html")
	} else {
		c.illegal = append(c.illegal, path+".html")
	}
	if err := porcupine.VisualizePath(model, information, path+".html"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := os.WriteFile(path+".txt", []byte(c.explain(session, information)), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return false
}

func isUnknown(operation porcupine.Operation) bool {
	return operation.Output.(Output).Answer == unknown
}

// closed lets calls of unknown outcome return last: they take effect at any time, or are never seen.
func closed(history []porcupine.Operation) []porcupine.Operation {
	end := int64(0)
	for _, operation := range history {
		if operation.Return != math.MaxInt64 {
			end = max(end, operation.Return)
		}
		end = max(end, operation.Call)
	}
	closed := slices.Clone(history)
	for at := range closed {
		closed[at].Return = min(closed[at].Return, end+1)
	}
	return closed
}

// explain lists the history, and marks the calls that the longest linearizable part leaves out.
func (c *Checker) explain(session *Session, information porcupine.LinearizationInfo) string {
	history := closed(session.history)
	var longest []porcupine.Operation
	for _, part := range information.PartialLinearizationsOperations() {
		for _, operations := range part {
			if len(operations) > len(longest) {
				longest = operations
			}
		}
	}
	fits := func(operation porcupine.Operation) bool { return slices.Contains(longest, operation) }
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	described := model(session.policy)
	var text strings.Builder
	fmt.Fprintf(&text, "session %d, %s, policy %s\n", session.number, session.session, session.policy)
	text.WriteString("! is not in the longest part that is linearizable\n")
	for _, operation := range history {
		mark := map[bool]string{true: " ", false: "!"}[fits(operation)]
		called, returned := float64(operation.Call)/1e6, float64(operation.Return)/1e6
		description := described.DescribeOperation(operation.Input, operation.Output)
		fmt.Fprintf(&text, "%s client %2d %12.3f to %12.3f ms  %s\n",
			mark, operation.ClientId, called, returned, description)
	}
	return text.String()
}

func (c *Checker) report() string {
	return fmt.Sprintf("%d sessions checked, %d of them with unknown outcomes; the longest check took %s\n",
		c.sessions, c.cutOff, c.longest.Round(time.Millisecond))
}
