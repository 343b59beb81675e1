// HTTP/1.1 connections of a client, one to each server. The standard library's client would repeat requests
// by itself.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

const patience = 10 * time.Second

// errNotSent means that no byte of the request left: the call did not happen.
var errNotSent = errors.New("cannot connect")

// Request is one call; Headers are whole lines.
type Request struct {
	Method, Path, Type, Body, Headers string
}

// Response is a whole answer. Anything less is an error.
type Response struct {
	Status int
	Body   string
}

// Send performs a call. An error other than errNotSent leaves its outcome unknown.
type Send func(Request) (Response, error)

// Client sends each call to a server at random.
type Client []*Connection

func (s *Service) client() Client {
	var client Client
	for _, server := range s.servers {
		client = append(client, &Connection{server: server})
	}
	return client
}

func (c Client) Send(request Request) (Response, error) {
	return c[rand.IntN(len(c))].Send(request)
}

func (c Client) close() {
	for _, connection := range c {
		connection.close()
	}
}

// Connection reconnects when the server has started anew.
type Connection struct {
	server *Server
	run    int64
	socket net.Conn
	reader *bufio.Reader
}

func (c *Connection) close() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}

func (c *Connection) connect() error {
	run := c.server.runs.Load()
	if c.socket != nil && c.run == run {
		return nil
	}
	c.close()
	socket, err := net.DialTimeout("tcp", c.server.address, patience)
	if err != nil {
		return errNotSent
	}
	c.run, c.socket, c.reader = run, socket, bufio.NewReader(socket)
	return nil
}

// Send is one exchange; after an error the connection is closed.
func (c *Connection) Send(request Request) (Response, error) {
	if err := c.connect(); err != nil {
		return Response{}, err
	}
	c.socket.SetDeadline(time.Now().Add(patience))
	response, err := c.exchange(request)
	if err != nil {
		c.close()
	}
	return response, err
}

func (c *Connection) exchange(request Request) (Response, error) {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", request.Method, request.Path)
	fmt.Fprintf(&head, "Host: %s\r\n%s", c.server.address, request.Headers)
	if request.Type != "" {
		fmt.Fprintf(&head, "Content-Type: %s\r\nContent-Length: %d\r\n", request.Type, len(request.Body))
	}
	if _, err := io.WriteString(c.socket, head.String()+"\r\n"+request.Body); err != nil {
		return Response{}, err
	}
	answer, err := http.ReadResponse(c.reader, &http.Request{Method: request.Method})
	if err != nil {
		return Response{}, err
	}
	body, err := io.ReadAll(answer.Body)
	if answer.Close {
		c.close()
	}
	return Response{answer.StatusCode, string(body)}, err
}
