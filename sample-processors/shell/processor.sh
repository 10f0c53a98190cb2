#!/bin/sh
# A record processor in one sed, to look at a stream or at the protocol: every message of the daemon goes
# to STDERR as it is, and so into the daemon's log; every action is answered.
#
# The hold space keeps the action that is under way. Actions that allow a checkpoint get one, and the
# status follows the daemon's reply. Give it an applicationName of its own: it moves the checkpoints.
exec sed -u -n '
w /dev/stderr
s/^{ *"action" *: */{"action":/
/^{"action":"checkpoint"/{
  g
  s/.*/{"action":"status","responseFor":"&"}/p
  d
}
s/^{"action":"\([A-Za-z]*\)".*/\1/
h
/^processRecords$/b checkpoint
/^shutdownRequested$/b checkpoint
/^shardEnded$/b checkpoint
s/.*/{"action":"status","responseFor":"&"}/p
d
:checkpoint
s/.*/{"action":"checkpoint","sequenceNumber":null}/p
'
