//! The documents: every command in a `console` block is run, and every file that they name is there.
//!
//! The Rust in them is compiled by the doctests of this crate's library.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `__all__` of the modules and the public attributes of their classes say in Python 3.11, and what came until 3.14.
const NAMES_OF_PYTHON: &str = "
    ALL_COMPLETED Array Array.get_lock Array.get_obj AsyncResult AsyncResult.get AsyncResult.ready
    AsyncResult.successful AsyncResult.wait AuthenticationError Barrier Barrier.abort Barrier.broken
    Barrier.n_waiting Barrier.parties Barrier.reset Barrier.wait BaseManager BaseManager.address
    BaseManager.connect BaseManager.get_server BaseManager.join BaseManager.register BaseManager.shutdown
    BaseManager.start BaseProxy BoundedSemaphore BrokenExecutor BrokenProcessPool BufferTooShort
    CancelledError Client Condition Condition.notify Condition.notify_all Condition.wait Condition.wait_for
    Connection Connection.close Connection.closed Connection.fileno Connection.poll Connection.readable
    Connection.recv Connection.recv_bytes Connection.recv_bytes_into Connection.send Connection.send_bytes
    Connection.writable Event Event.clear Event.is_set Event.set Event.wait Executor Executor.map
    Executor.shutdown Executor.submit FIRST_COMPLETED FIRST_EXCEPTION Future Future.add_done_callback
    Future.cancel Future.cancelled Future.done Future.exception Future.result Future.running
    Future.set_exception Future.set_result Future.set_running_or_notify_cancel IMapIterator IMapIterator.next
    InterpreterPoolExecutor InvalidStateError JoinableQueue JoinableQueue.join JoinableQueue.task_done
    Listener Listener.accept Listener.address Listener.close Listener.last_accepted Lock Lock.acquire
    Lock.locked Lock.release Manager MapResult MaybeEncodingError Namespace Pipe Pool Pool.Process Pool.apply
    Pool.apply_async Pool.close Pool.imap Pool.imap_unordered Pool.join Pool.map Pool.map_async Pool.starmap
    Pool.starmap_async Pool.terminate Process Process.authkey Process.close Process.daemon Process.exitcode
    Process.ident Process.interrupt Process.is_alive Process.join Process.kill Process.name Process.pid
    Process.run Process.sentinel Process.start Process.terminate ProcessError ProcessPoolExecutor
    ProcessPoolExecutor.kill_workers ProcessPoolExecutor.terminate_workers Queue Queue.cancel_join_thread
    Queue.close Queue.empty Queue.full Queue.get Queue.get_nowait Queue.join_thread Queue.put Queue.put_nowait
    Queue.qsize RLock RawArray RawValue RemoteError Semaphore Semaphore.get_value ShareableList
    ShareableList.count ShareableList.format ShareableList.index SharedMemory SharedMemory.buf
    SharedMemory.close SharedMemory.name SharedMemory.size SharedMemory.unlink SharedMemoryManager
    SharedMemoryManager.ShareableList SharedMemoryManager.SharedMemory SimpleQueue SyncManager
    SyncManager.Array SyncManager.Barrier SyncManager.BoundedSemaphore SyncManager.Condition SyncManager.Event
    SyncManager.JoinableQueue SyncManager.Lock SyncManager.Namespace SyncManager.Pool SyncManager.Queue
    SyncManager.RLock SyncManager.Semaphore SyncManager.Value SyncManager.dict SyncManager.list
    SyncManager.set ThreadPool ThreadPoolExecutor TimeoutError Token Token.address Token.id Token.typeid Value
    Value.get_lock Value.get_obj Value.value active_children allow_connection_pickling as_completed
    connection.wait copy cpu_count current_process freeze_support get_all_start_methods get_context get_logger
    get_start_method log_to_stderr os.process_cpu_count parent_process reducer set_executable
    set_forkserver_preload set_start_method synchronized wait
";

/// Prints what the Python at hand has, a line for each: an attribute under each class that it may be listed under.
const LISTING: &str = "
import concurrent.futures, concurrent.futures.process, multiprocessing.connection, multiprocessing.managers
import multiprocessing.pool, multiprocessing.queues, multiprocessing.shared_memory, multiprocessing.sharedctypes
import multiprocessing.synchronize
from multiprocessing.process import BaseProcess
base = {'BaseProcess': 'Process', 'ApplyResult': 'AsyncResult', 'Synchronized': 'Value', 'SynchronizedArray': 'Array',
    'SimpleQueue': 'Queue'}
name_of = lambda its_class: base.get(its_class.__name__, its_class.__name__)
m = multiprocessing
names, classes = set(), {BaseProcess, m.connection.Connection, m.pool.IMapIterator, m.pool.MapResult}
classes |= {m.sharedctypes.Synchronized, m.sharedctypes.SynchronizedArray, m.synchronize.Barrier}
for module in (m, m.connection, m.managers, m.pool, m.queues, m.shared_memory, m.sharedctypes, m.synchronize,
        concurrent.futures):
    names |= set(module.__all__)
    classes |= {it for it in (getattr(module, name) for name in module.__all__) if isinstance(it, type)}
for name in sorted(names):
    print(name)
for each in sorted(classes, key=name_of):
    if issubclass(each, (Exception, m.context.BaseContext)):
        continue
    print(name_of(each))
    for name in dir(each):
        if not name.startswith('_') and name not in dir(object):
            print(*[name_of(one) + '.' + name for one in each.__mro__])
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<PathBuf> {
    let mut documents = vec![root().join("README.md")];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        documents.push(entry.unwrap().path());
    }
    documents.retain(|path| path.extension().is_some_and(|e| e == "md"));
    assert!(documents.len() > 5);
    documents
}

#[test]
fn every_command_in_a_console_block_succeeds() {
    let mut run = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
        for command in blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")) {
            let output = Command::new("sh").args(["-c", command]).current_dir(root()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: `{command}` failed:\n{said}", document.display());
            run += 1;
        }
    }
    assert!(run > 0, "no document has a command");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {target}, which is not there", document.display());
        }
    }
}

#[test]
fn no_document_and_no_source_names_a_path_of_some_machine() {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    for file in String::from_utf8(listed.stdout).unwrap().lines().filter(|f| !f.ends_with(".lock")) {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for place in ["work", "root", "home"] {
            let needle = format!(" /{place}/");
            assert!(!text.contains(&needle), "{file} names {needle:?}");
        }
    }
}

/// The names in the first column of the table.
fn rows(text: &str) -> Vec<&str> {
    let (_, table) = text.split_once("## Every name").unwrap();
    let columns = table.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    columns.flat_map(|column| column.split('`').skip(1).step_by(2)).collect()
}

fn from_python() -> String {
    std::fs::read_to_string(root().join("docs/from-python.md")).unwrap()
}

/// Python 3.11 or later, if it is here.
fn python(arguments: &[&str]) -> Option<std::process::Output> {
    let is_new = ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"];
    let found = Command::new("python3").args(is_new).output().is_ok_and(|output| output.status.success());
    found.then(|| Command::new("timeout").args(["60", "python3"]).args(arguments).output().unwrap())
}

#[test]
fn every_name_of_python_has_a_row() {
    let text = from_python();
    for name in NAMES_OF_PYTHON.split_whitespace() {
        let rows = rows(&text).iter().filter(|named| **named == name).count();
        assert_eq!(rows, 1, "{name} has {rows} rows");
    }
}

#[test]
fn every_name_of_the_python_at_hand_has_a_row() {
    let Some(output) = python(&["-c", LISTING]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (text, listed) = (from_python(), String::from_utf8(output.stdout).unwrap());
    assert!(listed.lines().count() > 150, "{listed}");
    let rows = rows(&text);
    let missing: Vec<&str> =
        listed.lines().filter(|line| !line.split(' ').any(|name| rows.contains(&name))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_program_in_python_does_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let text = from_python();
    let programs = text.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut run = 0;
    for (number, program) in programs.enumerate() {
        let path = directory.path().join(format!("program_{number}.py"));
        std::fs::write(&path, program).unwrap();
        let Some(output) = python(&[path.to_str().unwrap()]) else { return };
        assert!(output.status.success(), "{program}\n{}", String::from_utf8_lossy(&output.stderr));
        run += 1;
    }
    assert!(run > 5);
}
