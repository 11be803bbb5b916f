//! Work on several threads whose result does not depend on how many there are.

use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon_core::{ThreadPool, ThreadPoolBuilder};

/// Do every job once, on one thread for each of `memories`, or fewer where the system has none left.
/// Jobs must not share anything they change.
pub(crate) fn share_out<Job: Send, Memory: Send>(
    memories: &mut [Memory],
    jobs: Vec<Job>,
    work: impl Fn(Job, &mut Memory) + Sync,
) {
    let Some((own, others)) = memories.split_first_mut() else {
        return;
    };
    if others.is_empty() || jobs.len() < 2 {
        for job in jobs {
            work(job, own);
        }
        return;
    }
    let threads = jobs.len() - 1;
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work_off = |memory: &mut Memory| {
        while let Some(job) = next() {
            work(job, memory);
        }
    };
    thread::scope(|scope| {
        for memory in others.iter_mut().take(threads) {
            let thread = thread::Builder::new().spawn_scoped(scope, || work_off(memory));
            if thread.is_err() {
                break;
            }
        }
        work_off(own);
    });
}

/// Threads that stay for work that comes in many small pieces, where starting threads for each
/// would cost more than they save.
#[derive(Debug)]
pub(crate) struct Team {
    others: Option<ThreadPool>,
}

impl Team {
    /// The caller's thread and `threads - 1` others, or fewer where the system has none left.
    pub(crate) fn new(threads: usize) -> Self {
        let others = threads.saturating_sub(1);
        let pool = ThreadPoolBuilder::new().num_threads(others);
        Self { others: if others > 0 { pool.build().ok() } else { None } }
    }

    /// As [`share_out`].
    pub(crate) fn share_out<Job: Send, Memory: Send>(
        &self,
        memories: &mut [Memory],
        jobs: Vec<Job>,
        work: impl Fn(Job, &mut Memory) + Sync,
    ) {
        let Some((own, others)) = memories.split_first_mut() else {
            return;
        };
        let Some(pool) = &self.others else {
            for job in jobs {
                work(job, own);
            }
            return;
        };
        let queue = Mutex::new(jobs.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work_off = |memory: &mut Memory| {
            while let Some(job) = next() {
                work(job, memory);
            }
        };
        pool.in_place_scope(|scope| {
            for memory in others {
                scope.spawn(|_| work_off(memory));
            }
            work_off(own);
        });
    }
}
