package demo

import "syscall"

// adopt asks the kernel to end a child with its parent, so that a demo which is itself killed leaves no process behind.
func adopt(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }
