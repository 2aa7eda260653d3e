// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"sync"
	"sync/atomic"
	"time"
)

// job is one write on its way. Exactly one of wait and done reports its
// outcome.
type job struct {
	fn    func(*Tx) error
	lazy  bool
	since time.Time // when a lazy job was queued

	// taken decides between the writer, which begins the job, and the
	// caller, which withdraws it when its context ends: the first wins.
	taken atomic.Bool

	err   error
	after []func()
	wait  chan struct{} // eager: closed once err is final
	done  func(error)   // lazy: may be nil
}

// take claims the job for the one who asks first.
func (j *job) take() bool { return j.taken.CompareAndSwap(false, true) }

// queue is the bounded FIFO between callers and the writer. It knows when a
// batch is due: at once for an eager job, after linger for lazy ones alone.
type queue struct {
	limit, batch int
	linger       time.Duration
	wake         chan struct{} // capacity 1: something changed

	mu     sync.Mutex
	jobs   []*job
	eager  int // how many of jobs want a commit now
	closed bool
}

func newQueue(limit, batch int, linger time.Duration) *queue {
	return &queue{limit: limit, batch: batch, linger: linger, wake: make(chan struct{}, 1)}
}

// put appends j, or says why not: ErrBusy or ErrClosed.
func (q *queue) put(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if len(q.jobs) >= q.limit {
		return ErrBusy
	}
	q.jobs = append(q.jobs, j)
	if !j.lazy {
		q.eager++
	}
	q.signal()
	return nil
}

// close ends intake; what is queued is still handed out.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs)
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // a wake-up is already pending
	}
}

// next waits until a batch is due and returns it in order of arrival, or nil
// once the queue is closed and empty.
func (q *queue) next() []*job {
	for {
		batch, wait := q.take()
		if batch != nil || wait < 0 {
			return batch
		}
		q.sleep(wait)
	}
}

// take returns a due batch; or how long to wait, 0 for "until woken", less
// for "nothing will come".
func (q *queue) take() (batch []*job, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 {
		if q.closed {
			return nil, -1
		}
		return nil, 0
	}
	if q.eager == 0 && !q.closed && len(q.jobs) < q.batch {
		if wait = q.linger - time.Since(q.jobs[0].since); wait > 0 {
			return nil, wait
		}
	}
	return q.pop(min(len(q.jobs), q.batch)), 0
}

// pop removes the first n jobs. The rest moves to a slice of its own, so that
// neither a long queue's memory nor finished jobs are kept.
func (q *queue) pop(n int) []*job {
	batch := q.jobs[:n:n]
	q.jobs = append([]*job(nil), q.jobs[n:]...)
	for _, j := range batch {
		if !j.lazy {
			q.eager--
		}
	}
	return batch
}

func (q *queue) sleep(wait time.Duration) {
	if wait == 0 {
		<-q.wake
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-q.wake:
	case <-timer.C:
	}
}
