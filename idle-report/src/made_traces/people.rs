//! People who type, read, look at pages and leave things open.

use super::Script;

const MINUTE: u64 = 60;

pub const SCENES: &[Script] = &[
    ("person-types-now-and-then", "somebody at a terminal types every twenty minutes", |s| {
        s.shell();
        s.must_stay();
        for _ in 0..5 {
            s.type_keys();
            s.pass(20 * MINUTE);
        }
        s.type_keys();
        s.pass(10);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("person-reads-pages", "somebody goes through pages of the workspace, one every ten minutes", |s| {
        let server = s.serve("node");
        s.load(server, 10);
        s.connect(3000, 1);
        s.must_stay();
        for _ in 0..8 {
            s.open_page();
            s.pass(10 * MINUTE);
        }
        s.open_page();
        s.pass(10);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("ssh-left-open", "a session over SSH stays open over night; its keep-alives are nobody", |s| {
        s.shell();
        s.spawn(1, "sshd-session");
        s.connect(22, 1);
        s.type_keys();
        s.pass(10);
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    ("editor-left-open", "a browser's editor is connected, its server repaints; the person has gone", |s| {
        let server = s.serve("node");
        s.load(server, 40);
        s.store(server, 800);
        s.connect(8080, 3);
        s.open_page();
        s.pass(10);
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    ("person-comes-back", "quiet for 20 min, then somebody types again, then quiet", |s| {
        s.shell();
        s.must_stay();
        s.type_keys();
        s.pass(20 * MINUTE);
        s.type_keys();
        s.pass(20 * MINUTE);
        s.type_keys();
        s.pass(10);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
];
