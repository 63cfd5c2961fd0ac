# SPDX-License-Identifier: Apache-2.0
# bash completion for granary; printed by "granary completion".
_granary()
{
	local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]}
	local globals="--state -o --yes --help" noun= verb= list= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--state | -o) ((i++)) ;;
		-*) ;;
		*) if [ -z "$noun" ]; then noun=${COMP_WORDS[i]}
			elif [ -z "$verb" ]; then verb=${COMP_WORDS[i]}
			else case "$noun $verb" in "snapshot schedule" | "alert rule" | "alert channel" | "share iso" | "share smb" | "share tls") verb="$verb ${COMP_WORDS[i]}" ;; esac; fi ;;
		esac
	done
	case $last in
	-o) COMPREPLY=($(compgen -W "json table" -- "$word")); return ;;
	--state) COMPREPLY=($(compgen -d -- "$word")); return ;;
	--*-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
	esac
	if [ -z "$noun" ]; then
		list="disk pool volume bin snapshot provision alert share directory target lun discovery isns metadata host initiator session slow log setup appliance account token audit replica export diff apply status ups network support config completion help $globals"
	elif [ -z "$verb" ]; then case $noun in
	disk) list="list health" ;;
	pool) list="create import list show set add evacuate remove online offline replace grow rename check prove scrub findings export delete" ;;
	volume) list="create list show resize set rescan rename take move delete clone promote rollback" ;;
	bin) list="list restore delete empty" ;;
	snapshot) list="create list show rename set hold release diff delete schedule" ;;
	alert) list="list ack silence rule channel" ;;
	share) list="create import list show quota limit users set snapshot restore check mount unmount iso smb delete allow deny rules explain tls clients hosts operations release" ;;
	directory) list="add list show set remove allow deny rules explain" ;;
	target) list="create list show redirect set delete allow deny rules groups group" ;;
	lun) list="map set unmap list mask reservations release check" ;;
	discovery) list="show require open" ;;
	isns) list="show set remove" ;;
	metadata) list="show set" ;;
	host) list="create list show add remove delete" ;;
	initiator) list="list" ;;
	session) list="list drop" ;;
	slow) list="list set" ;;
	log) list="list" ;;
	setup) list="code" ;;
	appliance) list="show network confirm revert time name restart poweroff release upload update cancel rollback" ;;
	account) list="list create change delete" ;;
	token) list="list create delete" ;;
	audit) list="list export check" ;;
	replica) list="code pair peers key peer leases unpair group point seed switchover promote demote failback verify pause resume" ;;
	ups) list="show set clear" ;;
	network) list="check" ;;
	support) list="bundle" ;;
	config) list="backup restore reset" ;;
	esac
	else case "$noun $verb" in
	"snapshot schedule") list="create set list show run delete" ;;
	"alert rule") list="list set" ;;
	"alert channel") list="create set list test delete" ;;
	"share iso") list="add list remove" ;;
	"share smb") list="enable disable list user forget" ;;
	"share tls") list="show set" ;;
	"disk list") list="--free $globals" ;;
	"pool create") list="--force --backend --conf --ceph-pool --id --namespace --dry-run $globals" ;;
	"pool import") list="--rewind --degraded --name --backend --conf --ceph-pool --id --namespace --dry-run $globals" ;;
	"pool set") list="--watermarks --scrub-every --undelete-hours --dry-run $globals" ;;
	"pool add") list="--force --dry-run $globals" ;;
	"pool evacuate") list="--wait --pause --resume --stop --status --dry-run $globals" ;;
	"pool remove") list="--dry-run $globals" ;;
	"pool online") list="--wait --dry-run $globals" ;;
	"pool offline") list="--dry-run $globals" ;;
	"pool replace") list="--force --wait --dry-run $globals" ;;
	"pool grow") list="--dry-run $globals" ;;
	"pool check") list="--data --offline $globals" ;;
	"pool prove") list="--seconds --force --dry-run $globals" ;;
	"pool scrub") list="--wait --rate --pause --resume --stop --status --dry-run $globals" ;;
	"pool findings") list="--clear --dry-run $globals" ;;
	"pool export") list="--dry-run $globals" ;;
	"pool delete") list="--dry-run $globals" ;;
	"volume create") list="--checksum --mirror --reserve --quota --device --read-only --naa --serial --vendor --product --t10 --dry-run $globals" ;;
	"volume resize") list="--shrink --dry-run $globals" ;;
	"volume set") list="--iops --bandwidth --burst --reserve --quota --dry-run $globals" ;;
	"volume rename") list="--dry-run $globals" ;;
	"volume move") list="--rate --without-snapshots --wait --pause --resume --stop --status $globals" ;;
	"volume delete") list="--to-bin --with-snapshots --dry-run $globals" ;;
	"volume clone") list="--dry-run $globals" ;;
	"volume promote") list="--dry-run $globals" ;;
	"volume rollback") list="--keep --dry-run $globals" ;;
	"bin restore") list="--as --dry-run $globals" ;;
	"bin delete") list="--dry-run $globals" ;;
	"bin empty") list="--dry-run $globals" ;;
	"snapshot create") list="--expendable --dry-run $globals" ;;
	"snapshot rename") list="--dry-run $globals" ;;
	"snapshot set") list="--expendable --needed --dry-run $globals" ;;
	"snapshot hold") list="--until --dry-run $globals" ;;
	"snapshot release") list="--dry-run $globals" ;;
	"snapshot delete") list="--dry-run $globals" ;;
	"snapshot schedule create") list="--every --keep --prefix --zone --expendable --dry-run $globals" ;;
	"snapshot schedule set") list="--every --keep --prefix --zone --expendable --needed --dry-run $globals" ;;
	"snapshot schedule delete") list="--dry-run $globals" ;;
	"alert list") list="--all $globals" ;;
	"alert silence") list="--for --reason --list --end --dry-run $globals" ;;
	"alert rule set") list="--severity --after --clear-after --level --on --off --dry-run $globals" ;;
	"alert channel create") list="--url --url-file --preset --from --to --user --secret-file --ca-file --no-tls --audit --language --severity --dry-run $globals" ;;
	"alert channel set") list="--url --url-file --preset --from --to --user --secret-file --ca-file --no-tls --audit --language --severity --tls --on --off --dry-run $globals" ;;
	"alert channel delete") list="--dry-run $globals" ;;
	"share create") list="--quota --versions --mirror --preset --dry-run $globals" ;;
	"share import") list="--pool --dry-run $globals" ;;
	"share quota") list="--dry-run $globals" ;;
	"share limit") list="--size --files --dry-run $globals" ;;
	"share set") list="--versions --snapshots --dry-run $globals" ;;
	"share snapshot") list="--dry-run $globals" ;;
	"share restore") list="--to $globals" ;;
	"share mount") list="--ro $globals" ;;
	"share unmount") list="--lazy $globals" ;;
	"share iso add") list="--name --sha256 --max-size $globals" ;;
	"share smb enable") list="--guest --user --ro --dry-run $globals" ;;
	"share smb disable") list="--dry-run $globals" ;;
	"share smb user") list="--password-file --uid --gid --dry-run $globals" ;;
	"share smb forget") list="--dry-run $globals" ;;
	"share delete") list="--to-bin --with-snapshots --dry-run $globals" ;;
	"share allow") list="--client --ro --sec --no-root-squash --all-squash --anon-uid --anon-gid --insecure --dry-run $globals" ;;
	"share deny") list="--client --dry-run $globals" ;;
	"share explain") list="--version $globals" ;;
	"share tls set") list="--chain-file --key-file --renew --clients-file --no-clients $globals" ;;
	"share release") list="--dry-run $globals" ;;
	"directory add") list="--versions --dry-run $globals" ;;
	"directory set") list="--versions --dry-run $globals" ;;
	"directory remove") list="--dry-run $globals" ;;
	"directory allow") list="--client --sec --no-root-squash --all-squash --anon-uid --anon-gid --insecure --dry-run $globals" ;;
	"directory deny") list="--client --dry-run $globals" ;;
	"directory explain") list="--version $globals" ;;
	"target create") list="--alias --dry-run $globals" ;;
	"target redirect") list="--dry-run $globals" ;;
	"target set") list="--async-events --max-sessions --max-sessions-per-initiator --dry-run $globals" ;;
	"target delete") list="--dry-run $globals" ;;
	"target allow") list="--initiator --network --chap-user --chap-secret-file --mutual-user --mutual-secret-file --dry-run $globals" ;;
	"target deny") list="--rule --initiator --network --all --dry-run $globals" ;;
	"target group") list="--access --preferred --dry-run $globals" ;;
	"lun map") list="--lun --ro --cdrom --dry-run $globals" ;;
	"lun set") list="--ro --rw --write-cache --dry-run $globals" ;;
	"lun unmap") list="--dry-run $globals" ;;
	"lun mask") list="--dry-run $globals" ;;
	"lun release") list="--dry-run $globals" ;;
	"lun check") list="--profile $globals" ;;
	"discovery require") list="--chap-user --chap-secret-file --mutual-user --mutual-secret-file --dry-run $globals" ;;
	"discovery open") list="--dry-run $globals" ;;
	"isns set") list="--esi-port --dry-run $globals" ;;
	"isns remove") list="--dry-run $globals" ;;
	"metadata set") list="--clear --dry-run $globals" ;;
	"host create") list="--dry-run $globals" ;;
	"host add") list="--dry-run $globals" ;;
	"host remove") list="--dry-run $globals" ;;
	"host delete") list="--dry-run $globals" ;;
	"session drop") list="--dry-run $globals" ;;
	"slow set") list="--dry-run $globals" ;;
	"log list") list="--severity --lines $globals" ;;
	"appliance network") list="--dry-run $globals" ;;
	"appliance confirm") list="--dry-run $globals" ;;
	"appliance revert") list="--dry-run $globals" ;;
	"appliance time") list="--timezone --dry-run $globals" ;;
	"appliance name") list="--dry-run $globals" ;;
	"appliance update") list="--allow-older --one-way --dry-run $globals" ;;
	"appliance rollback") list="--dry-run $globals" ;;
	"account create") list="--role --password-file --dry-run $globals" ;;
	"account change") list="--role --password-file --dry-run $globals" ;;
	"account delete") list="--dry-run $globals" ;;
	"token create") list="--role --days --dry-run $globals" ;;
	"token delete") list="--dry-run $globals" ;;
	"audit list") list="--after $globals" ;;
	"audit export") list="--after $globals" ;;
	"replica peer") list="--address --dry-run $globals" ;;
	"replica unpair") list="--dry-run $globals" ;;
	"replica group") list="--peer --rpo --limit --limit-at --points --compression --protect --seed --interface --lease --force --dry-run $globals" ;;
	"replica point") list="--dry-run $globals" ;;
	"replica seed") list="--dry-run $globals" ;;
	"replica switchover") list="--dry-run $globals" ;;
	"replica promote") list="--dry-run $globals" ;;
	"replica demote") list="--dry-run $globals" ;;
	"replica failback") list="--dry-run $globals" ;;
	"replica verify") list="--dry-run $globals" ;;
	"replica pause") list="--dry-run $globals" ;;
	"replica resume") list="--dry-run $globals" ;;
	"ups set") list="--shutdown-at --dry-run $globals" ;;
	"ups clear") list="--dry-run $globals" ;;
	"config backup") list="--passphrase-file $globals" ;;
	"config restore") list="--passphrase-file $globals" ;;
	*) list=$globals ;;
	esac; fi
	COMPREPLY=($(compgen -W "$list" -- "$word"))
	if [ -n "$verb" ] && [ ${#COMPREPLY[@]} -eq 0 ]; then
		COMPREPLY=($(compgen -f -- "$word"))
	fi
}
complete -F _granary granary
