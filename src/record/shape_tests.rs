//! One test per row of the table of shapes in the reference, named by the row, with `auto`: below log lines with a time, and
//! raw between lines without.

use crate::record::multiline::Multiline;
use crate::record::multiline_tests::check;

/// Checks `shape`, one event, between lines without times.
fn raw(shape: &str) {
    check(Multiline::Auto, &["INFO start", shape, "INFO next"]);
    check(Multiline::Auto, &[shape, shape, "INFO next", shape]);
}

/// Checks `shape` below a log line with a time, between others.
fn logged(shape: &str) {
    let first = "2026-11-26 22:30:54,116 INFO  [http-1] c.e.Orders - order 6 is done";
    let event = format!("2026-11-26 22:30:54,118 ERROR [http-1] c.e.Orders - order 7 failed\n{shape}");
    let next = "2026-11-26 22:30:54,120 INFO  [http-1] c.e.Orders - next";
    check(Multiline::Auto, &[first, &event, next, next, &event, &event]);
    check(Multiline::Timestamp, &[first, &event, next, next, &event, &event]);
}

/// Checks `shape`, which begins an event by itself also between log lines with a time.
fn begins(shape: &str) {
    check(Multiline::Auto, &["2026/11/26 22:30:54 start", shape, "2026/11/26 22:30:56 next", shape, shape]);
    raw(shape);
}

#[test]
fn java_chained() {
    let shape = "java.lang.IllegalArgumentException: order 7 is broken\nrow 2: <null>\n\tat c.e.Shop.load(Shop.java:4)\n\
                 \tSuppressed: java.lang.IllegalStateException: pool closed\n\t\tat c.e.Pool.close(Shop.java:3)\n\t\t... 8 more\n\
                 Caused by: java.lang.NullPointerException: Cannot invoke\nrow 2\n\tat c.e.Shop.parse(Shop.java:5)\n\t... 9 more";
    raw(shape);
    logged(shape);
}

#[test]
fn java_circular() {
    let shape = "java.lang.RuntimeException: outer\n\tat Shop.main(Shop.java:8)\n\
                 Caused by: java.lang.RuntimeException: inner\n\t... 8 more\n\
                 Caused by: [CIRCULAR REFERENCE: java.lang.RuntimeException: outer]";
    raw(shape);
    logged(shape);
    check(Multiline::Auto, &[shape, "done", "java.lang.NullPointerException\n\tat A.a(A.java:1)"]);
}

#[test]
fn java_no_message() {
    let shape = "java.lang.NullPointerException\n\tat Shop.main(Shop.java:9)";
    raw(shape);
    logged(shape);
}

#[test]
fn java_thread() {
    begins("Exception in thread \"worker-1\" java.lang.UnsupportedOperationException: no\n\tat Shop.main(Shop.java:12)");
    begins("Exception in thread \"worker 2\" java.lang.UnsupportedOperationException\nrow\n\tat Shop.main(Shop.java:12)");
}

#[test]
fn java_packaging() {
    let shape = "java.lang.IllegalStateException: no\n\tat c.e.A.a(A.java:1) ~[shop-1.2.jar:1.2]\n\
                 Caused by: java.io.IOException: disk\n\tat c.e.B.b(B.java:2) ~[na:na]\n\t... 12 common frames omitted\n\
                 Wrapped by: c.e.ShopException: x\n\tat c.e.B.b(B.java:2)";
    raw(shape);
    logged(shape);
}

#[test]
fn java_overflow() {
    let shape = String::from("java.lang.StackOverflowError") + &"\n\tat Shop.deep(Shop.java:9)".repeat(1_024);
    raw(&shape);
    logged(&shape);
}

#[test]
fn nested() {
    let shape = "com.example.DaoException: save failed; nested exception is: \n\
                 \tjava.sql.SQLException: ORA-00001: unique constraint violated\n\n\tat com.example.Dao.save(Dao.java:10)";
    raw(shape);
    logged(shape);
    raw("com.example.DaoException: save failed; nested exception is:\njava.sql.SQLException: ORA-00001\n\n\tat a.B.c(B.java:1)");
}

#[test]
fn kotlin_coroutine() {
    let shape = "kotlin.IllegalStateException: no\n\tat c.e.A.a(A.kt:1)\n\
                 \tat _COROUTINE._BOUNDARY._(CoroutineDebugging.kt:42)\n\t(Coroutine boundary)\n\tat c.e.B.b(B.kt:2)\n\
                 \tSuppressed: kotlinx.coroutines.internal.DiagnosticCoroutineContextException: [StandaloneCoroutine{Cancelling}]";
    raw(shape);
    logged(shape);
}

#[test]
fn scala_akka() {
    let header = "[ERROR] [11/26/2026 22:30:54.116] [sys-3] [akka://sys/user/cart] None.get";
    let trace = "java.util.NoSuchElementException: None.get\n\tat scala.None$.get(Option.scala:627)\n\
                 \tat c.e.Cart$$anonfun$receive$1.applyOrElse(Cart.scala:12)";
    let event = format!("{header}\n{trace}\n");
    check(Multiline::Auto, &[&event, "[INFO] [11/26/2026 22:30:55.000] [sys-3] [akka://sys/user/cart] ok", &event]);
    raw(trace);
    raw("scala.MatchError: 7 (of class java.lang.Integer)\n\tat c.e.Cart.total(Cart.scala:12)");
}

#[test]
fn python_3_11() {
    let shape = "Traceback (most recent call last):\n  File \"shop.py\", line 6, in <module>\n    price(o)\n    ^^^^^^^^\n\
                 \x20 File \"shop.py\", line 4, in price\n    return o[\"items\"][0].cost * 2\n           ~^~~~~~~~~\n\
                 AttributeError: 'NoneType' object has no attribute 'cost'";
    raw(shape);
    logged(shape);
    check(Multiline::Auto, &["GET /a", &format!("ERROR:root:order 7 failed\n{shape}"), "GET /b"]);
    check(Multiline::Auto, &["GET /a", &format!("Exception in thread Thread-1 (run):\n{shape}"), "GET /b"]);
}

#[test]
fn python_chained() {
    let shape = "Traceback (most recent call last):\n  File \"t.py\", line 10, in <module>\n    try: {}[\"k\"]\n         ~~^^^^^\n\
                 KeyError: 'k'\n\nDuring handling of the above exception, another exception occurred:\n\n\
                 Traceback (most recent call last):\n  File \"t.py\", line 11, in <module>\n    except KeyError: 1/0\n\
                 ZeroDivisionError: division by zero";
    raw(shape);
    logged(shape);
}

#[test]
fn python_cause() {
    let shape = "Traceback (most recent call last):\n  File \"t.py\", line 14, in <module>\n    try: int(\"x\")\n\
                 ValueError: invalid literal\nline two\n\nThe above exception was the direct cause of the following exception:\n\n\
                 Traceback (most recent call last):\n  File \"t.py\", line 15, in <module>\n    raise x\n\
                 RuntimeError: bad config\nline two of message";
    check(Multiline::Auto, &["INFO start", shape, "INFO next"]);
    logged(shape);
}

#[test]
fn python_group() {
    let shape = "  + Exception Group Traceback (most recent call last):\n  |   File \"t.py\", line 19, in <module>\n\
                 \x20 |     raise ExceptionGroup(\"2 rows failed\", [e])\n  | ExceptionGroup: 2 rows failed (2 sub-exceptions)\n\
                 \x20 +-+---------------- 1 ----------------\n    | ValueError: bad row\n    | row 12 of orders.csv\n\
                 \x20   +---------------- 2 ----------------\n    | TypeError\n    +------------------------------------";
    raw(shape);
    logged(shape);
    let chain = "\n\nDuring handling of the above exception, another exception occurred:\n\n";
    let first = "Traceback (most recent call last):\n  File \"t.py\", line 1, in <module>\nKeyError: 'k'";
    raw(&format!("{first}{chain}{shape}"));
    raw(&format!("{shape}{chain}{first}"));
}

#[test]
fn python_recursion() {
    let shape = "Traceback (most recent call last):\n  File \"t.py\", line 26, in f\n    def f(n): return f(n+1)\n\
                 \x20 [Previous line repeated 996 more times]\nRecursionError: maximum recursion depth exceeded";
    raw(shape);
    logged(shape);
}

#[test]
fn python_bare() {
    let shape = "Traceback (most recent call last):\n  File \"t.py\", line 29, in <module>\n    assert 1 == 2\nAssertionError";
    raw(shape);
    logged(shape);
}

#[test]
fn python_syntax() {
    let syntax = "  File \"<string>\", line 1\n    a = = 1\n        ^\nSyntaxError: invalid syntax";
    let traced = format!("Traceback (most recent call last):\n  File \"t.py\", line 32, in <module>\n    exec(\"a = = 1\")\n{syntax}");
    raw(syntax);
    raw(&traced);
    logged(&traced);
    logged(syntax);
}

#[test]
fn go_panic() {
    begins("panic: load order 7: file does not exist\n\tsecond line\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/main.go:9 +0x2bd");
    begins("panic: a\nsecond line\n\ngoroutine 1 [running]:\nmain.(*T).run(...)\n\t/srv/main.go:9\nmain.main()\n\t/srv/main.go:9 +0x2bd\nexit status 2");
}

#[test]
fn go_signal() {
    begins(
        "panic: runtime error: invalid memory address or nil pointer dereference\n\
         [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a9e96]\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/main.go:9 +0x16",
    );
}

#[test]
fn go_repanic() {
    begins(
        "panic: first [recovered]\n\tpanic: again: first\n\ngoroutine 1 [running]:\nmain.main.func2()\n\t/srv/main.go:10 +0x66\n\
         panic({0x4b5a40?, 0x4dcb00?})\n\t/usr/local/go/src/runtime/panic.go:860 +0x13a\nmain.main()\n\t/srv/main.go:10 +0x1ff",
    );
}

#[test]
fn go_fatal() {
    begins("fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [sync.WaitGroup.Wait]:\nsync.runtime_Semacquire(0xc00001c0b8?)\n\t/usr/local/go/src/runtime/sema.go:62 +0x25\n\ngoroutine 6 [chan receive, 2 minutes]:\nmain.main.func1()\n\t/srv/main.go:9 +0x16\ncreated by main.main in goroutine 1\n\t/srv/main.go:8 +0x5e");
    begins("fatal error: concurrent map writes\n\ngoroutine 26 [running]:\ninternal/runtime/maps.fatal({0x4d5079?, 0x0?})\n\t/usr/local/go/src/runtime/panic.go:1181 +0x18");
}

#[test]
fn go_overflow() {
    begins(
        "runtime: goroutine stack exceeds 1000000000-byte limit\nruntime: sp=0x29d9da7f8388 stack=[0x29d9da7f8000, 0x29d9fa7f8000]\n\
         fatal error: stack overflow\n\nruntime stack:\nruntime.throw({0x4d367c?, 0x41a905?})\n\t/usr/local/go/src/runtime/panic.go:1229 +0x48\n\n\
         goroutine 1 [running]:\nmain.f(0x1)\n\t/srv/main.go:13 +0x30\n...33554357 frames elided...\nmain.main()\n\t/srv/main.go:14 +0x1d",
    );
}

#[test]
fn go_1_22_system() {
    begins(
        "fatal error: stack overflow\n\ngoroutine 1 gp=0x29d9ba7781e0 m=0 mp=0x59b1e0 [running]:\nmain.main.func4(0x1555521?)\n\t/srv/main.go:13 +0x30\n\n\
         goroutine 2 gp=0x29d9ba778780 m=nil [force gc (idle)]:\nruntime.gopark(0x0?)\n\t/usr/local/go/src/runtime/proc.go:460 +0xce",
    );
    begins("SIGQUIT: quit\nPC=0x46d9a1 m=0 sigcode=0\n\ngoroutine 1 gp=0xc0000021c0 m=0 mp=0x59b1e0 [syscall]:\nmain.main()\n\t/srv/main.go:9 +0x16\n\nrax    0xca\nrbx    0x0\ncs     0x33");
}

#[test]
fn go_http() {
    let shape = "http: panic serving 127.0.0.1:5000: runtime error: index out of range [7] with length 3\ngoroutine 34 [running]:\n\
                 net/http.(*conn).serve.func1()\n\t/usr/local/go/src/net/http/server.go:1947 +0xbe\n\
                 panic({0x6a2b40?, 0xc0000b4018?})\n\t/usr/local/go/src/runtime/panic.go:785 +0x132\n\
                 created by net/http.(*Server).Serve in goroutine 1\n\t/usr/local/go/src/net/http/server.go:3360 +0x485";
    let event = format!("2026/11/26 22:30:54 {shape}");
    check(Multiline::Auto, &["2026/11/26 22:30:54 start", &event, &event, "2026/11/26 22:30:56 next"]);
    raw(shape);
}

#[test]
fn node_cause() {
    let shape = "Error: order 7 is broken\n    at load (t.js:1:65)\n    ... 5 lines matching cause stack trace ...\n\
                 \x20   at node:internal/main/run_main_module:28:49 {\n  [cause]: SyntaxError: Expected property name\n\
                 \x20     at JSON.parse (<anonymous>)\n}";
    raw(shape);
    logged(shape);
    raw("Error: db {\n  code: 'ECONNREFUSED',\n  details: { host: 'db1' }\n}");
    raw("TypeError [ERR_INVALID_ARG_TYPE]: The \"path\" argument\nmust be of type string\n    at open (t.js:1:2)");
}

#[test]
fn node_uncaught() {
    begins("/srv/t.js:5\nPromise.reject(new Error(\"x\"));\n               ^\n\nError: x\n    at Object.<anonymous> (/srv/t.js:5:16)\n    at node:internal/main/run_main_module:28:49\n\nNode.js v20.20.2");
    begins("node:internal/modules/cjs/loader:1078\n  throw err;\n  ^\n\nError: Cannot find module './x'\nRequire stack:\n- /srv/t.js\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1075:15) {\n  code: 'MODULE_NOT_FOUND',\n  requireStack: [ '/srv/t.js' ]\n}\n\nNode.js v20.20.2");
    begins("node:internal/process/promises:288\n            triggerUncaughtException(err, true /* fromPromise */);\n            ^\n\n[UnhandledPromiseRejection: This error originated] {\n  code: 'ERR_UNHANDLED_REJECTION'\n}\n\nNode.js v20.20.2");
    begins("/srv/t.js:5\nthrow 7\n^\n7\n(Use `node --trace-uncaught ...` to show where the exception was thrown)\n\nNode.js v20.20.2");
}

#[test]
fn dotnet_inner() {
    let trace = "System.InvalidOperationException: cannot price\n ---> System.NullReferenceException: Object reference not set\n\
                 \x20  at Shop.Cart.Total() in /src/Cart.cs:line 12\n   --- End of inner exception stack trace ---\n\
                 \x20  at Shop.Api.Get()\n--- End of stack trace from previous location ---\n   at Shop.Api.Run()";
    let event = format!("2026-11-26 22:30:54.116 +00:00 [ERR] Order 7 failed\n{trace}");
    check(Multiline::Auto, &["2026-11-26 22:30:54.116 +00:00 [INF] start", &event, "2026-11-26 22:30:54.117 +00:00 [INF] next"]);
    raw(trace);
    begins(&format!("Unhandled exception. {trace}"));
    let console = "fail: Shop.Api[0]\n      Order 7 failed\n      System.Exception: a\n         at Shop.A.F() in /src/A.cs:line 3";
    check(Multiline::Auto, &["info: Shop.Api[0]\n      start", console, console, "info: Shop.Api[0]\n      next"]);
}

#[test]
fn ruby_3_4() {
    begins(
        "cart.rb:12:in 'Cart#total': undefined method 'price' for nil (NoMethodError)\n\n    item.price * 2\n        ^^^^^^\n\
         \tfrom api.rb:40:in 'block in Api#get'\n\tfrom api.rb:50:in '<main>'",
    );
    begins("cart.rb:12:in `total': undefined method `pice' for nil:NilClass (NoMethodError)\nDid you mean?  price\n\tfrom api.rb:40:in `get'");
}

#[test]
fn ruby_logger() {
    let event = "E, [2026-11-26T22:30:54.116 #12] ERROR -- : undefined method `price' (NoMethodError)\n\
                 /srv/cart.rb:12:in `total'\n/srv/api.rb:40:in `block in get'";
    check(Multiline::Auto, &["I, [2026-11-26T22:30:54.110 #12]  INFO -- : start", event, event, "I, [2026-11-26T22:30:54.120 #12]  INFO -- : next"]);
    raw("order 7 failed\n/srv/cart.rb:12:in `total'\n/srv/api.rb:40:in `block in get'");
}

#[test]
fn rails() {
    let shape = "ActionView::Template::Error (undefined method `price' for nil:NilClass):\n    1: <p>\n    2: <%= item.price %>\n  \n\
                 app/views/cart/show.html.erb:2:in `_app_views_cart'\napp/controllers/cart_controller.rb:9:in `show'";
    check(Multiline::Auto, &["Started GET \"/a\" for 127.0.0.1 at 2026-11-26 22:30:54 +0000", shape, "Started GET \"/\" for 127.0.0.1 at 2026-11-26 22:30:55 +0000", shape, shape]);
    raw("NoMethodError (undefined method `price' for nil:NilClass):\n  \napp/controllers/cart_controller.rb:9:in `show'");
    logged(shape);
}

#[test]
fn php() {
    let shape = "PHP Fatal error:  Uncaught DomainException: no price in /srv/Cart.php:12\nStack trace:\n\
                 #0 /srv/Api.php(40): Cart->total(NULL)\n#1 {main}\n\nNext RuntimeException: order 7 failed in /srv/Api.php:41\n\
                 Stack trace:\n#0 {main}\n  thrown in /srv/Api.php on line 41";
    let event = format!("[26-Nov-2026 22:30:54 UTC] {shape}");
    let next = "[26-Nov-2026 22:30:55 UTC] PHP Warning:  Undefined variable $x in /srv/Api.php on line 3";
    check(Multiline::Auto, &[&event, next, &event, &event]);
    raw(shape);
}

#[test]
fn rust() {
    begins(
        "thread 'worker-1' (2129) panicked at t.rs:3:101:\nno price\nstack backtrace:\n   0: __rustc::rust_begin_unwind\n             at /rustc/1/library/std/src/panicking.rs:689:5\n\
         \x20  1: t::main\n             at ./t.rs:3:101\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
    );
    begins("thread 'main' panicked at t.rs:3:101:\nassertion `left == right` failed\n  left: 1\n right: 2\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace");
    begins("thread 'main' panicked at t.rs:3:101:\nno price\nline two\nline three\nstack backtrace:\n   0: t::main");
    begins("thread 'main' panicked at 'no price', t.rs:3:5\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace");
    begins("thread '<unnamed>' panicked at t.rs:3:101:\nno price");
    begins("thread 'main' (12) has overflowed its stack\nfatal runtime error: stack overflow, aborting");
}

#[test]
fn asan() {
    let rule = "=".repeat(65);
    begins(&format!(
        "{rule}\n==2191==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000013\nREAD of size 1 at 0x602000000013 thread T0\n\
         \x20   #0 0x5605d74751d6 in main /srv/a.c:2\n\n0x602000000013 is located 3 bytes inside of 8-byte region\nfreed by thread T0 here:\n\
         \x20   #0 0x7f0a500b76a8 in free\n\nSUMMARY: AddressSanitizer: heap-use-after-free /srv/a.c:2 in main\nShadow bytes around the buggy address:\n\
         \x20 0x0c047fff7fb0: 00 00\n=>0x0c047fff8000: fa fa[fd]fa\nShadow byte legend (one shadow byte represents 8 application bytes):\n\
         \x20 Addressable:           00\n==2191==ABORTING"
    ));
    begins(&format!(
        "{rule}\n==12==ERROR: LeakSanitizer: detected memory leaks\n\nDirect leak of 7 byte(s) in 1 object(s) allocated from:\n    #0 0x7f in malloc\n\n\
         SUMMARY: AddressSanitizer: 7 byte(s) leaked in 1 allocation(s)."
    ));
}

#[test]
fn nginx_lua() {
    let event = "2026/11/26 22:30:54 [error] 12#12: *7 lua entry thread aborted: runtime error: a.lua:3: attempt to index a nil value\n\
                 stack traceback:\ncoroutine 0:\n\ta.lua:3: in function 'run'\n\ta.lua:9: in main chunk, client: 10.0.0.1, request: \"GET / HTTP/1.1\"";
    check(Multiline::Auto, &[event, "2026/11/26 22:30:55 [warn] 12#12: *8 an upstream response is buffered", event, event]);
    raw("lua: a.lua:3: attempt to index a nil value\nstack traceback:\n\ta.lua:3: in function 'run'\n\t[C]: in ?");
}

#[test]
fn nginx_fastcgi() {
    let event = "2026/11/26 22:30:54 [error] 12#12: *7 FastCGI sent in stderr: \"PHP message: PHP Fatal error:  Uncaught DomainException: no price in /srv/Cart.php:12\n\
                 Stack trace:\n#0 /srv/Api.php(40): Cart->total(NULL)\n#1 {main}\n  thrown in /srv/Cart.php on line 12\" while reading response header from upstream, client: 10.0.0.1";
    check(Multiline::Auto, &[event, "2026/11/26 22:30:55 [warn] 12#12: *8 an upstream response is buffered", event, event]);
}

#[test]
fn postgresql() {
    let event = "2026-11-26 22:30:54.116 UTC [71] shop@orders STATEMENT:  select *\n\t  from \"order\"\n\t where id = 7\n\
                 \t   and note = '2026-11-26 looks like a date'\n\t2026-11-26 22:30:54 too";
    check(Multiline::Auto, &["2026-11-26 22:30:54.116 UTC [71] shop@orders ERROR:  relation \"order\" does not exist", event, event, "2026-11-26 22:30:54.200 UTC [71] shop@orders LOG:  duration: 1203.1 ms"]);
}

#[test]
fn mysql_slow() {
    let query = "# User@Host: shop[shop] @ web1 [10.0.0.5]  Id:    12\n# Query_time: 3.100210  Lock_time: 0.000002\n\
                 SET timestamp=1795732254;\nselect *\nfrom orders;";
    let event = format!("# Time: 2026-11-26T22:30:54.116000Z\n{query}");
    let old = format!("# Time: 261126 22:30:54\n{query}");
    check(Multiline::Auto, &[&event, &event, &event]);
    check(Multiline::Auto, &[&old, query, &old, query, query]);
}

#[test]
fn kernel_oops() {
    let lines = [
        "Nov 26 22:30:54 web1 kernel: BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "Nov 26 22:30:54 web1 kernel: Call Trace:",
        "Nov 26 22:30:54 web1 kernel:  <TASK>",
        "Nov 26 22:30:54 web1 kernel: ---[ end trace 0000000000000000 ]---",
    ];
    check(Multiline::Auto, &lines);
    check(Multiline::Timestamp, &lines);
}

#[test]
fn pretty_json() {
    let one = "{\n  \"level\": \"error\",\n  \"at\": [\n    1,\n    2\n  ],\n\n  \"in\": {\n    \"a\": {}\n  }\n}";
    check(Multiline::Auto, &[one, one, "{\n  \"level\": \"info\"\n}", "done", one]);
    check(Multiline::Trace, &[one, "[\n  1\n]", one, "}"]);
    raw(&format!("payload: {one}"));
    raw("{\n\t\"a\": 1\n}");
}

#[test]
fn plain_lines() {
    check(Multiline::Auto, &["GET /a 200", "GET /b 500", "Error: see manual", "done"]);
    check(Multiline::Auto, &["Error: see manual", "", "done", "", "", "Error: other", "Error: third\n  with a hint", "done"]);
    check(Multiline::Auto, &["/srv/t.js:5", "runtime: 12 ms", "=====================", "", "panic: no", "note: x", "Caused by nothing"]);
}
