// A program that is started again and again, and ended with SIGKILL.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Process is one run of a program.
type Process struct {
	command *exec.Cmd
	exited  chan error
}

// start lets the process end with this one.
func start(command *exec.Cmd) (*Process, error) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := command.Start(); err != nil {
		return nil, err
	}
	process := &Process{command, make(chan error, 1)}
	go func() { process.exited <- command.Wait() }()
	return process, nil
}

func (p *Process) pid() int { return p.command.Process.Pid }

// running is an error if the process ended by itself.
func (p *Process) running() error {
	select {
	case err := <-p.exited:
		p.exited <- err
		return fmt.Errorf("%s ended by itself: %v", p.command, err)
	default:
		return nil
	}
}

// kill returns when the process is gone.
func (p *Process) kill() { p.end(os.Kill) }

// end sends a signal, and returns how the process ended.
func (p *Process) end(signal os.Signal) error {
	p.command.Process.Signal(signal)
	err := <-p.exited
	p.exited <- err
	return err
}
