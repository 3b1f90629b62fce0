//! The command lines that are compared, and how they are run.

use anyhow::{Context, ensure};
use cairn_api::etcdserverpb::kv_client::KvClient;
use cairn_api::etcdserverpb::lease_client::LeaseClient;
use cairn_api::etcdserverpb::{LeaseLeasesRequest, MemberListRequest, cluster_client::ClusterClient};
use cairn_testkit::{Finished, Member, Options, Peer, run, run_until_lines};
use cairn_tests::ops::put;
use cairn_tests::session::Step;
use tokio::process::Command;

use crate::masks::mask;

/// One command line. Words are separated by blanks; `''` is an empty word, `{lease}` the last lease that was granted,
/// `{file}` a path of the run's own, `{url}` the member's address as a URL; without it the member is named as host and port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line {
    /// Runs to its end.
    Run(&'static str),
    /// Runs to its end with this input.
    Input(&'static str, &'static str),
    /// Runs until it has printed so many lines, in the forms simple, json and fields. JSON has one line for each message,
    /// fields and JSON a header for each; servers send a short past as one message.
    Watch(&'static str, [usize; 3]),
}

use Line::{Input, Run as Do, Watch};

/// Keys, transactions, leases, history.
pub(crate) const KV: &[Line] = &[
    Do("get foo"),
    Do("put foo bar"),
    Do("put foo bar2 --prev-kv"),
    Do("put foo2 x --prev-kv"),
    Input("put piped", "from stdin"),
    Do("put empty ''"),
    Do("get foo"),
    Do("get foo --hex"),
    Do("get foo foo3"),
    Do("get foo --prefix"),
    Do("get foo --prefix --keys-only"),
    Do("get foo --prefix --count-only"),
    Do("get foo --prefix --print-value-only"),
    Do("get '' --prefix --limit 2"),
    Do("get '' --from-key --order DESCEND --sort-by VALUE"),
    Do("get '' --prefix --order ASCEND --sort-by MODIFY"),
    Do("get foo --rev 4"),
    Do("get foo --rev 99"),
    Do("get foo --consistency s"),
    Do("get missing"),
    Do("put missing --ignore-value"),
    Do("put foo --ignore-value"),
    Do("put foo kept --ignore-lease"),
    Do("put foo leased --lease 7b"),
    Do("del foo2 --prev-kv"),
    Do("del missing"),
    Do("put d1 1"),
    Do("put d2 2"),
    Do("put d3 3"),
    Do("del d1 d3 --prev-kv"),
    Do("del d --prefix --prev-kv"),
    Input("txn", "value(\"foo\") = \"kept\"\nmod(\"foo\") > \"1\"\n\nput tx yes\nget foo\n\nget empty\n\n"),
    Input("txn", "version(\"foo\") = \"99\"\n\nput tx no\n\nput tx else\ndel tx2\nget \"\" --prefix\n\n"),
    Input("txn", "\nput a 1\nput a 2\n\n\n"),
    Input("txn", "create(\"tx\") < \"5\"\n\n\nget tx\n\n"),
    Watch("watch foo --rev 4", [12, 1, 32]),
    Watch("watch '' --prefix --rev 4 --prev-kv", [14, 1, 38]),
    Do("lease grant 600"),
    Do("put leased 1 --lease {lease}"),
    Do("get leased"),
    Do("lease timetolive {lease}"),
    Do("lease timetolive {lease} --keys"),
    Do("lease keep-alive --once {lease}"),
    Do("lease list"),
    Do("lease revoke {lease}"),
    Do("lease revoke {lease}"),
    Do("lease timetolive {lease}"),
    Do("lease keep-alive --once {lease}"),
    Do("lease list"),
    Do("get leased"),
    Do("compaction 6"),
    Do("compaction 6"),
    Do("compaction 999"),
    Do("compaction 10 --physical"),
    Do("get foo --rev 5"),
];

/// What etcdctl builds on top of keys and leases. cairnctl has no such command yet.
pub(crate) const RECIPES: &[Line] = &[Do("lock name echo held"), Do("lock name --ttl 30 echo again"), Do("lease list")];

/// Endpoints, members, alarms, snapshots.
pub(crate) const CLUSTER: &[Line] = &[
    Do("endpoint health"),
    Do("endpoint health --cluster"),
    Do("endpoint status"),
    Do("endpoint status --cluster"),
    Do("endpoint hashkv"),
    Do("endpoint hashkv --cluster"),
    Do("member list"),
    Do("alarm list"),
    Do("alarm disarm"),
    Do("defrag"),
    Do("lease list"),
    Do("snapshot save {file}"),
];

/// Endpoints that are URLs. etcdctl 3.4 sends them on as the authority of requests.
pub(crate) const URLS: &[Line] = &[
    Do("put foo bar --endpoints {url}"),
    Do("get foo --endpoints {url}"),
    Do("endpoint health --endpoints {url}"),
    Do("endpoint status --endpoints {url}"),
    Do("endpoint status --endpoints {url},{url}"),
    Do("endpoint status --cluster --endpoints {url}"),
    Do("endpoint hashkv --endpoints {url}"),
    Do("endpoint hashkv --cluster --endpoints {url}"),
    Do("defrag --endpoints {url}"),
    Do("defrag --cluster --endpoints {url}"),
    Do("snapshot save {file} --endpoints {url}"),
];

/// Where snapshots go, in the directory of the run.
const SAVED: &str = "saved.db";

/// A client tool and the form in which it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) peer: Peer,
    pub(crate) format: &'static str,
}

/// A fresh member, and a tool that talks to it.
pub(crate) struct Run {
    tool: Tool,
    member: Member,
    /// Ids as they are printed, and what stands for them in transcripts.
    ids: Vec<(String, String)>,
    leases: Vec<i64>,
}

impl Run {
    /// Runs all lines.
    pub(crate) async fn play(script: &[Line], tool: Tool, server: Peer) -> anyhow::Result<Vec<Step>> {
        let mut run = Self::start(tool, server, Options::default()).await?;
        let mut steps = vec![];
        for line in script {
            steps.push(run.line(*line).await?);
        }
        if script.iter().any(|line| matches!(line, Do(text) if text.contains("{file}"))) {
            let saved = std::fs::metadata(run.member.scratch().join(SAVED)).context("the snapshot was not written")?;
            ensure!(saved.len() > 0, "the snapshot is empty");
        }
        Ok(steps)
    }

    pub(crate) async fn start(tool: Tool, server: Peer, options: Options) -> anyhow::Result<Self> {
        let member = Member::start(server, options).await?;
        let list = ClusterClient::new(member.connect().await?).member_list(MemberListRequest::default()).await?;
        let list = list.into_inner();
        let cluster = list.header.context("a list without a header")?.cluster_id;
        let id = list.members.first().context("an empty list of members")?.id;
        // Not by the tool: one that cannot print the answer in a form may or may not have written before it says so.
        let mut kv = KvClient::new(member.connect().await?);
        for value in ["bar", "bar2"] {
            kv.put(put("seed", value)).await?;
        }
        let ids = [(cluster, "CLUSTER"), (id, "MEMBER")];
        let ids = ids.iter().flat_map(|&(id, name)| forms(id).map(|form| (form, name.to_owned()))).collect();
        Ok(Self { tool, member, ids, leases: vec![] })
    }

    async fn line(&mut self, line: Line) -> anyhow::Result<Step> {
        let (text, outcome) = match line {
            Do(text) => (text, self.finish(text, "").await?),
            Input(text, input) => (text, self.finish(text, input).await?),
            Watch(text, lines) => {
                let command = self.command(&self.words(text))?;
                let lines =
                    lines[["simple", "json", "fields"].iter().position(|&f| f == self.tool.format).unwrap_or(0)];
                (text, mask(&run_until_lines(command, lines).await?, false))
            }
        };
        let outcome = self.ids.iter().fold(outcome, |text, (id, name)| text.replace(id, name));
        Ok(Step { label: text.to_owned(), request: format!("-w {}", self.tool.format), outcome })
    }

    async fn finish(&mut self, text: &str, input: &str) -> anyhow::Result<String> {
        let words = self.words(text);
        let finished = self.execute(&words.iter().map(String::as_str).collect::<Vec<_>>(), input).await?;
        self.learn_leases().await?;
        let status = text.starts_with("endpoint status");
        let [stdout, stderr] = [&finished.stdout, &finished.stderr].map(|text| mask(text, status));
        Ok(format!("exit code {:?}\n{stdout}\n(stderr) {stderr}", finished.code))
    }

    /// Runs the tool with these arguments.
    pub(crate) async fn execute(&mut self, words: &[&str], input: &str) -> anyhow::Result<Finished> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        run(self.command(&words)?, input).await
    }

    fn command(&self, words: &[String]) -> anyhow::Result<Command> {
        let mut command = Command::new(self.tool.peer.ctl()?);
        command.env("ETCDCTL_API", "3").current_dir(self.member.scratch());
        if !words.iter().any(|word| word == "--endpoints") {
            command.args(["--endpoints", &self.member.address()]);
        }
        command.args(["-w", self.tool.format]).args(words);
        Ok(command)
    }

    fn words(&self, text: &str) -> Vec<String> {
        let lease = format!("{:x}", self.leases.last().copied().unwrap_or_default());
        let url = format!("http://{}", self.member.address());
        let words = text.split(' ').map(|word| if word == "''" { "" } else { word });
        words.map(|word| word.replace("{lease}", &lease).replace("{file}", SAVED).replace("{url}", &url)).collect()
    }

    /// New leases get names in the order in which they were granted.
    async fn learn_leases(&mut self) -> anyhow::Result<()> {
        let answer = LeaseClient::new(self.member.connect().await?).lease_leases(LeaseLeasesRequest {}).await?;
        for lease in answer.into_inner().leases {
            if !self.leases.contains(&lease.id) {
                self.leases.push(lease.id);
                let name = format!("LEASE{}", self.leases.len());
                self.ids.extend(forms(u64::try_from(lease.id)?).map(|form| (form, name.clone())));
            }
        }
        Ok(())
    }
}

/// An id in the forms in which tools print it; the longest first, because it contains the others.
fn forms(id: u64) -> [String; 3] {
    [format!("{id:016x}"), format!("{id:x}"), id.to_string()]
}
