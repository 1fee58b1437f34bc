// Package pgtest runs throw-away PostgreSQL servers for tests. Only tests and bench
// import it.
//
// The server's programs are looked for on PATH and under /usr/lib/postgresql.
// Where there are none the test is skipped, and fails if COMITY_CI is 1. A test
// that runs as root gives the server to another user, because PostgreSQL
// refuses root.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The one user of a server. Over the socket in the server's folder no password
// is asked; over TCP it is.
const (
	User     = "comity"
	Password = "correct-horse-7319"
)

// Server is a server of its own folder.
type Server struct {
	dir  string // its home; data is below it
	bin  string
	port int
	as   *syscall.Credential // nil: whoever runs the test

	mu   sync.Mutex
	cmd  *exec.Cmd     // guarded by mu; nil when it does not run
	gone chan struct{} // closed when cmd has ended

	next int // databases made
}

var (
	shared     *Server
	sharedErr  error
	sharedOnce sync.Once
)

// Main runs a package's tests and then ends the server that they shared. It is
// called from TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if shared != nil {
		shared.remove()
	}
	return code
}

// Shared is the server of the test binary, started when it is first asked for.
// Tests that stop or kill one start their own.
func Shared(t testing.TB) *Server {
	t.Helper()
	sharedOnce.Do(func() { shared, sharedErr = start(nil) })
	if sharedErr != nil {
		lacking(t, sharedErr)
	}
	return shared
}

// Start runs a server that ends with the test. Settings are NAME=VALUE, beside
// the defaults, which are durable.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings)
	if err != nil {
		lacking(t, err)
	}
	t.Cleanup(s.remove)
	return s
}

// errNone: there is no PostgreSQL on this machine.
var errNone = errors.New("pgtest: no initdb and postgres on PATH or under /usr/lib/postgresql")

func lacking(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errNone) && os.Getenv("COMITY_CI") != "1" {
		t.Skip(err)
	}
	t.Fatal(err)
}

// programs finds the folder with initdb and postgres, the newest version first.
func programs() (string, error) {
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(candidates, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			candidates = append([]string{filepath.Dir(real)}, candidates...)
		}
	}
	for _, dir := range candidates {
		_, err1 := os.Stat(filepath.Join(dir, "initdb"))
		_, err2 := os.Stat(filepath.Join(dir, "postgres"))
		if err1 == nil && err2 == nil {
			return dir, nil
		}
	}
	return "", errNone
}

// servant is the user that a server runs as when the test runs as root.
func servant() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("pgtest: root, and neither postgres nor nobody is a user here")
}

func start(settings []string) (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	as, err := servant()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "comity-pg-")
	if err != nil {
		return nil, err
	}
	return startIn(dir, bin, as, settings)
}

func startIn(dir, bin string, as *syscall.Credential, settings []string) (_ *Server, err error) {
	s := &Server{dir: dir, bin: bin, as: as}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(Password+"\n"), 0o600); err != nil {
		return nil, err
	}
	if as != nil {
		if err := errors.Join(os.Chown(dir, int(as.Uid), int(as.Gid)), os.Chown(secret, int(as.Uid), int(as.Gid))); err != nil {
			return nil, err
		}
	}
	init := s.command("initdb", "-D", s.data(), "-U", User, "--pwfile", secret, "--auth-local=trust", "--auth-host=scram-sha-256",
		"--encoding=UTF8", "--no-locale", "--no-sync")
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pgtest: initdb: %w: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return nil, err
	}
	lines := []string{
		"listen_addresses = '127.0.0.1'", fmt.Sprintf("port = %d", s.port), fmt.Sprintf("unix_socket_directories = '%s'", dir),
		"fsync = on", "synchronous_commit = on", "full_page_writes = on", "max_connections = 200", "shared_buffers = 128MB", "max_wal_size = 1GB",
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		lines = append(lines, fmt.Sprintf("%s = '%s'", name, value))
	}
	conf, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = conf.WriteString(strings.Join(lines, "\n") + "\n")
	if err := errors.Join(err, conf.Close()); err != nil {
		return nil, err
	}
	return s, s.run()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

// run starts the server's process and waits until it answers.
func (s *Server) run() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command("postgres", "-D", s.data())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd)
	gone := make(chan struct{})
	started := make(chan error)
	go func() {
		// The process dies with the thread that made it: this one lives as long
		// as the server.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(gone)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.cmd, s.gone = cmd, gone
	s.mu.Unlock()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := s.exec("postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			return fmt.Errorf("pgtest: the server ended: %s", s.Log())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pgtest: the server does not answer: %w: %s", err, s.Log())
		}
	}
}

// Log is what the server has written.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// URL names a database over the socket.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d", User, database, s.dir, s.port)
}

// Address is where the server answers over TCP.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// TCP names a database over TCP at an address, the server's own or a proxy's,
// with the password.
func (s *Server) TCP(database, address string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", User, Password, address, database)
}

// Database makes an empty database and returns its name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.next++
	name := fmt.Sprintf("t%d", s.next)
	s.mu.Unlock()
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return name
}

// Own gives a path to the user that the server runs as.
func (s *Server) Own(t testing.TB, path string) {
	t.Helper()
	if s.as == nil {
		return
	}
	if err := os.Chown(path, int(s.as.Uid), int(s.as.Gid)); err != nil {
		t.Fatal(err)
	}
}

// Exec runs a statement.
func (s *Server) Exec(t testing.TB, database, statement string) {
	t.Helper()
	if err := s.exec(database, statement); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) exec(database, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// Stop ends the server in order: sessions are cut, what was committed is
// written out.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.signal(syscall.SIGINT)
}

// Kill ends all of the server's processes with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	cmd := s.cmd
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	// Each of them has a process group of its own.
	children := childrenOf(cmd.Process.Pid)
	s.signal(syscall.SIGKILL)
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range children {
		for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// KillSession kills one session's process, which makes the server throw out
// all others and recover from its log.
func (s *Server) KillSession(t testing.TB, application string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return false
	}
	defer conn.Close(ctx)
	var pid int
	err = conn.QueryRow(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = $1 ORDER BY state = 'active' DESC LIMIT 1", application).Scan(&pid)
	return err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// Restart starts a server that was stopped or killed.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// signal sends the signal and waits for the end.
func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	cmd, gone := s.cmd, s.gone
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		<-gone
	}
}

func (s *Server) remove() {
	s.signal(syscall.SIGQUIT)
	_ = os.RemoveAll(s.dir)
}
