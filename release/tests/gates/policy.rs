//! The declared side: versions and the form in which a plan holds policies.

use cairn_release::gates::policy::{ElfPolicy, GlibcVersion, Machine};

#[test]
fn versions_of_glibc_are_compared_by_number_and_not_by_letter() {
    let version = |text: &str| text.parse::<GlibcVersion>().unwrap();
    assert!(version("2.4") < version("2.28"));
    assert!(version("2.2.5") < version("2.3"));
    assert!(version("2.28") == GlibcVersion::new(2, 28));
    assert!("2".parse::<GlibcVersion>().is_err());
    assert!("2.x".parse::<GlibcVersion>().is_err());
}

#[test]
fn a_policy_survives_json() {
    for policy in [
        ElfPolicy::dynamic(Machine::Arm64, GlibcVersion::new(2, 28)).with_stack_protector(),
        ElfPolicy::fully_static(Machine::Amd64),
    ] {
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<ElfPolicy>(&json).unwrap(), policy, "{json}");
    }
}

#[test]
fn programs_for_arm64_must_run_on_pages_of_64_kib() {
    assert_eq!(ElfPolicy::dynamic(Machine::Arm64, GlibcVersion::new(2, 28)).page_bytes, 65536);
}
