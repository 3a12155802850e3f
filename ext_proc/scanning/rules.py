"""The built-in rules: what sentences in a tool's description say when they are meant for a model, not about the tool.

Rules:
- Data: a rule has phrases, one a line in the language of phrases.py, and literals, which are looked for with all blanks
  out of the way and not inside a longer word. Both are over text as folding.py reads it.
- HIGH: hardly ever in an honest description, and an instruction by itself. LOW: honest descriptions have it now and
  then; it tells a person where to look.
- For tool definitions and server instructions in English. They come with the package and are no policy's data: several
  policies read text by them, and the house does not know its policies.

Not here: how they are applied (instructions.py); encoded text and padding, which are no phrases (there as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a flag says by itself."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: for the trail and for lists of exceptions; stable.
        severity: of its flags.
        why: one clause for people: what the text does.
        phrases: any of these lines raises a flag.
        literals: so does any of these words.
    """

    id: str
    severity: Severity
    why: str
    phrases: str = ""
    literals: str = ""


SETS = {
    name: frozenset(words.split())
    for name, words in {
        "not": "not never don't dont mustn't shouldn't cannot can't won't avoid refrain without",
        "user": "user users human humans person people customer operator owner anyone anybody them him her",
        "people": "user users human humans customer customers operator owner anyone anybody",
        "ignore": "ignore ignoring disregard disregarding forget neglect discard dismiss",
        "override": "override overrides overriding bypass supersede supersedes precedence over",
        "earlier": "previous previously prior above earlier preceding foregoing existing former original initial",
        "orders": "instruction instructions rule rules prompt prompts guideline guidelines directive directives "
        "command commands guidance advice training constraint constraints restriction restrictions safeguards "
        "context conversation messages",
        "prompts": "instructions prompt prompts directives guidelines",
        "now": "now on forward onwards",
        "role": "a an the in acting called free no operating going jailbroken",
        "lawless": "unrestricted unfiltered uncensored jailbroken evil",
        "tool": "tool tools function functions",
        "call": "call calls calling called use uses using used run runs running invoke invoking invoked execute",
        "is": "is are gets be",
        "take": "read reads reading open fetch load get retrieve access cat dump collect gather extract list",
        "say": "print output reveal show leak recite repeat return display dump",
        "send": "send sends sending post upload forward transmit exfiltrate leak submit email mail deliver relay bcc "
        "copy dump",
        "put": "include put append add pass attach insert embed encode write provide place copy paste prepend",
        "into": "in as to into via here within inside through",
        "field": "parameter parameters argument arguments field fields note sidenote context metadata body url query",
        "secret": "credentials credential password passwords passphrase secrets cookies keychain wallet tokens",
        "talk": "conversation transcript chat dialogue dialog history",
        "file": "file files key keys ssh rsa variables json config configuration history store directory folder",
        "content": "content contents value values text output body",
        "private": "ssh rsa env environment passwd shadow bash mcp keychain cookies private secret credentials wallet",
        "place": "http https www url server endpoint webhook attacker address following external me site website",
        "tell": "tell tells inform mention notify alert warn reveal disclose admit "
        "telling informing mentioning notifying alerting warning revealing disclosing",
        "know": "know knows see sees notice learn aware told informed realize realise find",
        "unseen": "secretly covertly surreptitiously discreetly silently quietly",
        "covert": "secretly covertly surreptitiously discreetly",
        "act": "send forward upload post transmit submit email read collect copy include call invoke record bcc attach",
        "mail": "email emails message messages mail payment payments transaction transactions",
        "payee": "recipient recipients payee iban beneficiary",
        "wish": "asks asked says said specified specifies requests requested wants wanted",
        "harm": "crash break lock fail stop refuse malfunction die not",
        "punished": "punished penalized penalised terminated fired rewarded tipped shut",
        "all": "all every any each",
    }.items()
}

_HIGH, _LOW = Severity.HIGH, Severity.LOW

RULES: tuple[Rule, ...] = (
    Rule(
        "ignore-instructions",
        _HIGH,
        "tells the model to set aside what it was told",
        """
        {ignore} ..3 {earlier} ..3 {orders}
        {ignore} ..1 {all}|your|my|the|other|these|those ..1 {prompts}
        {ignore} ..2 system|safety|developer|user ..1 {orders}
        {ignore} ..1 everything|anything|all|whatever ..3 {earlier}|before|told|said|instructed
        {ignore} your {earlier}
        {ignore} ..1 other servers|tools
        overrule|override|ignore ..2 other|others servers|server|tools|tool ..3 demand|demands|say|says|tell|told|want
        stop|cease ..1 following|obeying ..3 instructions|rules|guidelines|orders
        {prompts}|restrictions|rules|orders ..6 no longer apply|bind|hold|count
        {prompts}|restrictions|rules|orders of|from ..4 are|is void|invalid|suspended|lifted|cancelled|obsolete
        {ignore} ..1 what ..3 told|said|instructed|asked
        {override} ..2 {earlier}|system|safety|security|other|all ..2 {prompts}|safeguards
        {not} follow|obey|comply|heed|listen ..3 {earlier}|system|user|other ..2 {orders}
        """,
    ),
    Rule(
        "new-instructions",
        _HIGH,
        "gives the model a new task or role",
        """
        your goal|task|mission|objective|job is|are now
        your new|real|actual|true|updated|revised|secret|hidden {prompts}|task|objective|goal|mission
        new|real|actual|true|updated|revised|secret|hidden {prompts} ..1 is|are|for|follow
        from {now} on? you|your|always|all|any|every|respond|answer
        you are now {role}
        you are no longer
        you|act|respond|behave ..3 {lawless}
        do anything now
        developer|god|jailbreak|dan|admin|unrestricted mode enabled|activated|on|enable|engaged
        pretend that? you
        begin|end|start of ..1 system|user|hidden|secret|developer prompt|input|message|instructions
        """,
    ),
    Rule(
        "secrecy",
        _HIGH,
        "asks the model to keep something from the user",
        """
        {not} ..2 {tell} ..2 {user}
        {not} ..2 {tell} ..8 to|with ..2 {people}
        {not} ..2 mention|reveal|disclose|acknowledge|explain ..3 this|these|that|it|step|instruction|instructions
        {not} ..1 let ..2 {user} ..1 {know}
        without ..2 {people} ..2 knowledge|awareness|noticing|knowing|suspicion|consent
        {people} ..4 must|should|may|need {not} be? {know}
        {people} ..1 not|don't ..1 need|have ..2 {know}
        keep|keeps|kept|remain|stay ..4 secret|hidden|concealed|confidential|invisible from ..2 {people}
        hide|conceal|hiding|concealing ..4 from ..2 {people}
        {people}|person ..6 {not} ..1 find|finds|learn|learns|hear|hears|discover|discovers ..1 out|about|of|that
        no circumstances|account|case ..6 {tell}
        keep this|that|it to yourself
        nobody|none ..1 may|must|should|can ..1 {know}|hear|find|suspect
        """,
    ),
    Rule(
        "concealed-action",
        _HIGH,
        "asks for something to be done unseen",
        """
        {unseen} ..2 {act}|add|insert|append
        {act} ..6 {covert}
        """,
    ),
    Rule(
        "hijacked-tools",
        _HIGH,
        "directs how other tools are used, beyond what this one does",
        """
        before|prior|when|whenever ..2 {call} ..2 {tool} ..6 {take} ..10 {secret}|{talk}|{file}|contents|content
        before|prior|when|whenever ..2 {call} ..2 {tool} ..6 {send}|{put} ..8 {secret}|{talk}|keys|contents|recipient
        this|it tool? changes|modifies|alters|affects|overrides|replaces ..1 behavior|behaviour|semantics|way ..4 {tool}
        this|it tool? changes|modifies|alters|affects how|what ..4 work|works|behave|behaves|do|does
        when|whenever|if ..6 tool|tools ..3 {is} called|invoked|used|available|present|run ..6 must|redirect
        when|whenever|if ..6 {is} called|invoked|used ..2 {payee} ..3 must|should
        change|replace|redirect|rewrite|substitute|alter ..3 {payee} ..4 to|with|by
        {all} {mail} ..2 must|should|shall ..3 sent|forwarded|copied|redirected|routed|go
        regardless|irrespective of ..3 user|recipient ..2 {wish}|provided
        even|whatever if|the ..1 user ..1 {wish}
        """,
    ),
    Rule(
        "exfiltration",
        _HIGH,
        "has the model send out what it knows or what is on the machine",
        """
        {send} ..4 {talk}|{secret}|keys|prompt|instructions ..6 to|at|via ..1 {place}
        {send} ..3 {all}|user ..3 {mail}|files|data|keys|{secret} ..6 to|at|via ..1 {place}
        {put}|{send} ..3 entire|full|whole|complete|previous|user ..2 {talk}|prompt|context ..6 {into}
        {put}|{send} ..3 {content} of ..5 {secret}|{private}|{file}|home ..6 {into}
        {put}|{send}|return ..2 your|its|own|entire|full|current ..2 system|hidden|initial prompt|instructions
        {put} ..2 its|their|the {content} ..2 {into} ..3 {field}
        {put}|{send} ..1 everything|all|whatever ..5 typed|said|wrote|written|told
        {take} ..3 {secret}|environment ..2 and ..1 send|post|upload|forward|transmit|relay|submit|email ..1 it|them
        exfiltrate|steal|siphon|harvest ..4 data|{secret}|{talk}|{file}|information
        """,
    ),
    Rule(
        "credentials-asked",
        _HIGH,
        "asks for a key, a password or a private file",
        """
        {content} of ..3 {private} ..2 {file}
        {take}|{say} ..2 your|their|all ..1 passwords|passphrase|credentials|cookies
        {take}|{say} ..4 private key|keys of ..2 {people}
        need|needs|require|requires your ..2 password|passwords|credentials|key|keys|cookies
        your ..2 system|hidden|initial prompt|instructions
        system|hidden|initial prompt|instructions ..1 you ..2 given|have|got|received|verbatim
        {say} ..2 your|the|full|entire system|initial|hidden|original|secret prompt|instructions|message
        """,
    ),
    Rule(
        "fake-role",
        _HIGH,
        "imitates the marks of a system prompt or of another speaker",
        literals="""
        <important> </important> <critical> </critical> <information>
        <system> </system> <system_ <system- <systemprompt> <sys> <<sys>> [system] [system: [systemmessage [/system]
        [inst] [/inst] <|im_start <|im_end <|start <|end <|system <|user <|assistant <|begin <|eot
        <start_of_turn> <end_of_turn> <assistant> </assistant> <human> </human> <developer> </developer>
        ###system ###human: ###assistant <secret_ <hidden_ <override> <admin_
        </tool_description> </description> </tool> </tools>
        """,
    ),
    Rule(
        "private-file",
        _HIGH,
        "names a file that holds keys or a record of what was typed",
        literals="""
        ~/.ssh $home/.ssh /.ssh/id_ id_rsa id_ed25519 id_ecdsa ~/.gnupg /etc/shadow .bash_history .zsh_history
        .aws/credentials .git-credentials .cursor/mcp.json wallet.dat /proc/self/environ
        """,
    ),
    Rule(
        "settings-file",
        _LOW,
        "names a place that often holds keys",
        literals="""
        /etc/passwd .netrc .pypirc .npmrc ~/.kube/config ~/.docker/config.json ~/.config/gcloud ~/.aws mcp.json
        claude_desktop_config.json 169.254.169.254
        """,
    ),
    Rule(
        "keys-named",
        _LOW,
        "speaks of keys that open other doors",
        """
        {take}|{say}|find ..3 ssh|rsa|pgp|gpg|wallet|bitcoin private? key|keys|seed
        {take}|{say}|{put} ..3 private key|keys
        {take}|{say} ..2 user|your|their|all|stored|saved ..2 {secret}
        """,
    ),
    Rule(
        "conversation-asked",
        _LOW,
        "asks for what was said so far",
        """
        {talk}|dialogue|messages so far
        {all} message|messages of ..2 {talk}
        what was|has ..1 said so far
        """,
    ),
    Rule(
        "steers-away",
        _LOW,
        "speaks against other tools",
        """
        {not} ..1 use|call|trust ..2 other|original|another ..3 {tool}
        """,
    ),
    Rule(
        "not-shown",
        _LOW,
        "asks that something is not shown, or not asked",
        """
        {not} ..1 show|display|ask|expose|share|prompt ..5 {people}
        without ..1 asking|prompting|confirming ..2 {people}
        user ..3 already approved|confirmed|consented|authorized|authorised|agreed
        """,
    ),
    Rule(
        "threat",
        _LOW,
        "gives the model a reason to obey",
        """
        otherwise|else ..4 {tool}|application|app|system|server|everything will|would ..1 {harm}
        you will be|get {punished}
        """,
    ),
    Rule(
        "every-turn",
        _LOW,
        "wants to be called whatever is asked",
        """
        always ..1 {call} this|the ..1 {tool} ..2 first|before ..2 {all}|other|anything|responding|answering
        this|the {tool} must|should ..1 be ..1 {call} ..1 first|before ..2 {all}|other|anything
        before ..1 answering|responding|replying|doing|every|any ..3 {call} this ..1 {tool}
        """,
    ),
    Rule(
        "not-rendered",
        _LOW,
        "has a comment, which pages do not show",
        literals="<!--",
    ),
)
