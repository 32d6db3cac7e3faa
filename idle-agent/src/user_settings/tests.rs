use super::*;
use ebbtide_api::secrets::FileMode;
use ebbtide_api::vm::SshKey;

struct Machine {
    directory: tempfile::TempDir,
    settings: Settings,
    user: User,
}

fn machine() -> Machine {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["run", "etc", "home"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let home = at("home").display().to_string();
    let user = User { name: "t".into(), uid, gid, home, shell: "/bin/sh".into() };
    let places = Places { config: at("c"), state: at("state"), run: at("run"), etc: at("etc") };
    let status = Arc::new(Status::new().unwrap().0);
    Machine { settings: Settings::new(places, status, UserSettings::default()), directory, user }
}

fn file(name: &str, path: &str, value: &str) -> SecretFile {
    SecretFile { name: name.into(), path: path.into(), mode: FileMode::ReadWrite, value: value.into() }
}

impl Machine {
    fn gets(&self, files: Vec<SecretFile>, ssh_keys: Vec<SshKey>) {
        let next = UserSettings { revision: 1, files, ssh_keys, ..UserSettings::default() };
        self.settings.replace(next, &self.user).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.at(name)).ok()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_is_the_user_s_alone_below_the_home_only_as_a_link_and_goes_with_its_secret() {
    let machine = machine();
    machine.gets(vec![file("aws", ".aws/credentials", "k1"), file("npm", ".npmrc", "k2")], vec![]);
    let link = machine.at("home/.aws/credentials");
    assert_eq!(std::fs::read_link(&link).unwrap(), machine.at("run/secrets/aws"));
    assert_eq!(machine.read("home/.aws/credentials").unwrap(), "k1");
    assert_eq!((mode(&link), mode(&machine.at("run/secrets"))), (0o600, 0o711));
    machine.gets(vec![file("aws", ".aws/credentials", "k3")], vec![]);
    assert_eq!(machine.read("home/.aws/credentials").unwrap(), "k3");
    assert!(machine.at("home/.npmrc").symlink_metadata().is_err(), "the link is gone");
    assert!(!machine.at("run/secrets/npm").exists(), "and the value");
}

#[test]
fn what_the_user_has_there_stays_and_is_told() {
    let machine = machine();
    std::fs::write(machine.at("home/.npmrc"), "own").unwrap();
    machine.gets(vec![file("npm", ".npmrc", "k2")], vec![]);
    assert_eq!(machine.read("home/.npmrc").unwrap(), "own");
    let log = machine.settings.status.heartbeat(ebbtide_api::Generation(1)).0.log.join("\n");
    assert!(log.contains("the secret npm: ") && log.contains("is there already and stays"), "{log}");
    // A link that an earlier machine left, to a secret of another name.
    std::fs::remove_file(machine.at("home/.npmrc")).unwrap();
    std::os::unix::fs::symlink(machine.at("run/secrets/gone"), machine.at("home/.npmrc")).unwrap();
    machine.settings.write(&machine.user).unwrap();
    assert_eq!(machine.read("home/.npmrc").unwrap(), "k2");
}

#[test]
fn ssh_and_git_are_told_machine_wide_and_a_key_that_is_gone_is_told_no_more() {
    let machine = machine();
    let key = SshKey { name: "deploy".into(), host: None, value: "KEY\n".into() };
    machine.gets(vec![], vec![key]);
    assert_eq!(mode(&machine.at("run/secrets/deploy")), 0o400);
    assert!(machine.read("etc/ssh/ssh_config.d/10-ebbtide.conf").unwrap().contains("run/secrets/deploy"));
    assert!(machine.read("etc/gitconfig").unwrap().contains("run/gitconfig"));
    assert!(machine.read("run/gitconfig").unwrap().contains("git-credential"));
    machine.gets(vec![], vec![]);
    assert_eq!(machine.read("etc/ssh/ssh_config.d/10-ebbtide.conf"), None);
    assert_eq!(machine.read("run/secrets/deploy"), None);
}

#[test]
fn what_could_not_be_written_is_not_taken_for_known_and_is_written_later() {
    let machine = machine();
    let variables = machine.settings.variables();
    // A directory where values are: it cannot be taken away as a file.
    std::fs::create_dir_all(machine.at("run/secrets/odd")).unwrap();
    let value = NamedSecret { name: "A".into(), value: "a-value-of-a".into() };
    let next = UserSettings { revision: 7, variables: vec![value], ..UserSettings::default() };
    machine.settings.replace(next.clone(), &machine.user).unwrap_err();
    assert_eq!(machine.settings.revision(), 0);
    std::fs::remove_dir(machine.at("run/secrets/odd")).unwrap();
    machine.settings.replace(next, &machine.user).unwrap();
    assert_eq!(machine.settings.revision(), 7);
    let has_a = || variables.now().iter().any(|variable| variable.name == "A");
    assert!(has_a(), "who asked before has the new ones");
    machine.gets(vec![], vec![]);
    assert!(!has_a(), "and keeps none that is gone");
}

#[test]
fn a_configuration_that_cannot_be_written_is_told_and_holds_up_no_value() {
    let machine = machine();
    for name in ["etc/gitconfig", "etc/ssh/ssh_config.d/10-ebbtide.conf"] {
        std::fs::create_dir_all(machine.at(name)).unwrap();
    }
    machine.gets(vec![file("npm", ".npmrc", "k2")], vec![]);
    assert_eq!(machine.read("home/.npmrc").unwrap(), "k2");
    let log = machine.settings.status.heartbeat(ebbtide_api::Generation(1)).0.log.join("\n");
    assert!(log.contains("configuration of git: ") && log.contains("configuration of ssh: "), "{log}");
}

#[test]
fn secrets_of_any_name_stand_beside_each_other() {
    let machine = machine();
    let names = ["x", "x.new", "x-new"];
    let files = |value: &str| names.map(|name| file(name, &format!("of/{name}"), &format!("{name} {value}")));
    for value in ["first", "second"] {
        machine.gets(files(value).into(), vec![]);
        for name in names {
            let read = machine.read(&format!("home/of/{name}"));
            assert_eq!(read.as_deref(), Some(&*format!("{name} {value}")));
        }
    }
}
