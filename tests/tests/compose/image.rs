//! The image: what the Dockerfile says, since no engine builds it here.

use super::file::{self, list};

#[test]
fn every_program_that_the_file_starts_is_built_and_copied() {
    let dockerfile = file::read("deploy/Dockerfile");
    let compose = file::compose();
    for role in file::roles(&compose) {
        let programs = std::iter::once(&role.command[0]).chain(role.health.as_ref().map(|h| &h[0]));
        for program in programs {
            assert!(
                dockerfile.contains(&format!("--bin {program} ")),
                "{program} is not built"
            );
            assert!(
                dockerfile.contains(&format!("target/dist/{program} ")),
                "{program} is left"
            );
        }
    }
    let build = &compose["services"]["metrics"]["build"];
    assert_eq!(build["dockerfile"], "deploy/Dockerfile");
}

#[test]
fn the_image_is_pinned_and_runs_as_nobody_special() {
    let dockerfile = file::read("deploy/Dockerfile");
    let toolchain = file::read("rust-toolchain.toml");
    let line = toolchain
        .lines()
        .find(|line| line.starts_with("channel"))
        .unwrap();
    let version = line.split('"').nth(1).unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{version}-slim-bookworm AS build")));
    let bases = dockerfile.lines().filter(|line| line.starts_with("FROM "));
    for base in bases {
        assert!(base.contains('.') && !base.contains("latest"), "{base}");
    }
    let user = dockerfile
        .lines()
        .rfind(|line| line.starts_with("USER "))
        .unwrap();
    assert_eq!(user, "USER 10001:10001");
    assert!(
        dockerfile.find("USER ") > dockerfile.rfind("RUN "),
        "nothing runs as it but the role"
    );
}

#[test]
fn the_build_sees_every_package_and_no_build_output() {
    let ignored = file::read("deploy/Dockerfile.dockerignore");
    let manifest = file::read("Cargo.toml");
    let members = manifest
        .lines()
        .find(|line| line.starts_with("members"))
        .unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(
            ignored.lines().any(|line| line == format!("!{member}")),
            "{member} is left out"
        );
    }
    assert!(ignored.lines().any(|line| line == "**/target"));
    assert_eq!(
        ignored.lines().find(|line| !line.starts_with('#')),
        Some("*")
    );
}

#[test]
fn the_servers_are_those_of_the_local_stack() {
    let compose = file::compose();
    let pom = file::read("pulse/kafka/pom.xml");
    let image = compose["services"]["kafka"]["image"].as_str().unwrap();
    let kafka = image.strip_prefix("apache/kafka:").unwrap();
    assert!(
        pom.contains(kafka),
        "the local stack has another Kafka than {kafka}"
    );
    let package = file::read("pulse/clickhouse/package.json");
    let image = compose["services"]["clickhouse"]["image"].as_str().unwrap();
    let clickhouse = image.strip_prefix("clickhouse/clickhouse-server:").unwrap();
    assert!(
        package.contains(clickhouse),
        "the local stack has another ClickHouse"
    );
    let mounted = list(&compose["services"]["clickhouse"]["volumes"]);
    assert!(
        mounted
            .iter()
            .any(|volume| volume.starts_with("./deploy/clickhouse/users.xml:"))
    );
}
