// Package cli holds what every command of the comity binary shares: exit codes and how errors map to them, JSON output,
// progress on a terminal, passphrases, confirmation, the printing of money and the rule for ledger addresses.
//
// It owns no command. A command group is a package beside this one that exports Command() *cobra.Command.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Code is an exit code of the comity binary. Scripts rely on the numbers, so they never change meaning.
type Code int

// The exit codes.
const (
	OK          Code = 0 // the command did what was asked
	Failure     Code = 1 // something went wrong that no other code names
	Usage       Code = 2 // the command line, a configuration or an input file is not well-formed
	Refused     Code = 3 // a rule of the ledger or of the wallet refused it, by name; a retry does not help
	Unavailable Code = 4 // the ledger or a witness could not be reached or said "try later"; a retry may help
	Unverified  Code = 5 // a check of a proof, a receipt, a log or a report failed
)

// Error carries the exit code beside the error. Name is the refusal code, such as "over_limit", when there is one.
type Error struct {
	Code Code
	Name string
	Err  error
}

// Error returns the message of the wrapped error, with the refusal's name in front when the message does not hold it.
func (e *Error) Error() string {
	msg := e.Err.Error()
	if e.Name != "" && !strings.Contains(msg, e.Name) {
		return e.Name + ": " + msg
	}
	return msg
}

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// Exit wraps err so that the binary ends with code. A nil err stays nil.
func Exit(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// RefusedAs wraps err as the refusal with this name: exit code 3, and "name" in the JSON form of the error.
func RefusedAs(name string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: Refused, Name: name, Err: err}
}

// Usagef is an input the user has to correct: exit code 2.
func Usagef(format string, args ...any) error { return Exit(Usage, fmt.Errorf(format, args...)) }

// Unverifiedf is a check that failed: exit code 5.
func Unverifiedf(format string, args ...any) error {
	return Exit(Unverified, fmt.Errorf(format, args...))
}

// CodeOf returns the exit code and the refusal name of err. An *Error in the chain decides; after that refusals of the
// ledger (3, but 4 for try_later), Connect errors (see fromConnect) and cancelled contexts are recognised.
func CodeOf(err error) (Code, string) {
	if err == nil {
		return OK, ""
	}
	// An outer Error may decide the exit code while the name comes from the refusal it wraps.
	code, name, found := fromRefusal(err)
	if !found {
		code, name, found = fromConnect(err)
	}
	var e *Error
	if errors.As(err, &e) {
		if e.Name != "" {
			name = e.Name
		}
		return e.Code, name
	}
	if found {
		return code, name
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unavailable, ""
	}
	return Failure, ""
}

// Main runs root with the arguments of the process and returns the exit code. SIGINT and SIGTERM cancel the command's
// context, so that a command ends in order; a second signal ends the process at once.
func Main(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, root, os.Args[1:], os.Stdout, os.Stderr)
}

// Run is Main with everything given: tests use it.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usagef("%w\nsee '%s --help'", err, cmd.CommandPath())
	})
	prepare(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return int(OK)
	}
	// cobra reports an unknown sub-command as a plain error: it is the only error it makes after prepare.
	if strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag") {
		err = Exit(Usage, err)
	}
	code, name := CodeOf(err)
	report(cmd, stderr, code, name, err)
	return int(code)
}

// prepare makes argument errors usage errors, and makes a group called without a sub-command one as well, instead of a
// help text with exit code 0 that a script takes for success.
func prepare(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return Usagef("%w\nsee '%s --help'", err, cmd.CommandPath())
			}
			return nil
		}
	}
	if !cmd.Runnable() && cmd.HasSubCommands() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				_ = cmd.Help()
				return Usagef("%s needs a sub-command", cmd.CommandPath())
			}
			return Usagef("unknown command %q for %q\nsee '%s --help'", args[0], cmd.CommandPath(), cmd.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
}

// report writes the error to stderr: a line of text, or one JSON object when the command was asked for JSON.
func report(cmd *cobra.Command, stderr io.Writer, code Code, name string, err error) {
	if flag := cmd.Flags().Lookup("json"); flag != nil && flag.Value.String() == "true" {
		_ = json.NewEncoder(stderr).Encode(map[string]any{"error": map[string]any{
			"exit": int(code), "code": name, "detail": err.Error(),
		}})
		return
	}
	switch {
	case name != "" && !strings.Contains(err.Error(), name):
		fmt.Fprintf(stderr, "comity: %s: %v\n", name, err)
	default:
		fmt.Fprintf(stderr, "comity: %v\n", err)
	}
}

// JSON adds the --json flag to cmd and returns where its value lands.
func JSON(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print one JSON object, for programs")
}

// Print writes value to the command's output: as indented JSON when asJSON, otherwise by calling text.
func Print(cmd *cobra.Command, asJSON bool, value any, text func(w io.Writer)) error {
	w := cmd.OutOrStdout()
	if !asJSON {
		text(w)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}
