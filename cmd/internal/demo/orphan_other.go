//go:build !linux

package demo

import "syscall"

// adopt does nothing where the kernel cannot end a child with its parent: a demo that is killed there leaves its processes behind.
func adopt(*syscall.SysProcAttr) {}
