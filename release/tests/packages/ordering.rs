//! The package managers' own comparisons order our spellings of versions.

use cairn_release::linux_packages::tool;
use cairn_release::linux_packages::{Format, Version};
use cairn_release::process::clean_command;

/// Each below the next.
const ORDER: [&str; 8] =
    ["0.9.10", "1.2.0-alpha.1", "1.2.0-beta.2", "1.2.0-rc.2", "1.2.0-rc.10", "1.2.0", "1.2.1-rc.1", "1.10.0"];

fn pairs(format: Format) -> impl Iterator<Item = (String, String)> {
    let full = move |text: &str| Version::parse(text).unwrap().full(format);
    ORDER.windows(2).map(move |pair| (full(pair[0]), full(pair[1])))
}

#[test]
fn dpkg_orders_pre_releases_below_their_release() {
    let dpkg = tool::find("dpkg", "dpkg").unwrap();
    for (low, high) in pairs(Format::Deb) {
        let finished = tool::run(clean_command(&dpkg).args(["--compare-versions", &low, "lt", &high])).unwrap();
        assert!(finished.status.success(), "{low} is not below {high}");
    }
}

#[test]
fn rpm_orders_pre_releases_below_their_release() {
    let rpm = tool::find("rpm", "rpm").unwrap();
    for (low, high) in pairs(Format::Rpm) {
        let lua = format!("%{{lua:print(rpm.vercmp('{low}', '{high}'))}}");
        assert_eq!(tool::output(clean_command(&rpm).args(["-E", &lua])).unwrap().trim(), "-1", "{low} {high}");
    }
}
