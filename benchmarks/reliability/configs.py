"""Configurations that cannot run, or not as they were meant: each has to stop with its key's name.

Each entry is what is wrong with it, its overrides on top of ``config=mscn/quickstart``, and what
the error message has to say: the key at least. The tests go through the same table.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

C = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
L = "config.LOSS"
M = "config.MSCN"
OPT = "config.OPTIMIZER"
S = f"{OPT}.param_schedulers.lr"
T = "config.DATA.TRAIN.TRANSFORMS"
D = "config.DATA.TRAIN"
V = "config.DATA.TEST.TRANSFORMS"
H = "config.MODEL.HEAD.PARAMS"
TIMM = "+config/mscn/models=timm_convnext_tiny"
B = f"{L}.byol_loss"
BYOL = "config=mscn/byol_quickstart"
MOCO = (
    "config=mscn/moco",
    "+config/mscn/machine=cpu",
    "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=32",
)
MEAN = "{name:Normalize,mean:[0.485,0.456,0.406],std:[0.229,0.224,0.225]}"
FILTER = "{name:MSCNHighPass,sigma:1.25}"
SEEN = f"{{name:ToTensor}},{MEAN},{FILTER}"
FILTERED_FIRST = f"{{name:ToTensor}},{FILTER},{MEAN}"
TWO_SIZES = "[[mlp,{dims:[null,64]}],[mlp,{dims:[64,32]}]]"

BAD: list[tuple[str, Sequence[str], str]] = [
    # Pictures
    (
        "one end of a pixel range",
        [f"{M}.PIXEL_RANGE=4095"],
        f"{M}.PIXEL_RANGE is 4095; it must be null, or the values of black and white",
    ),
    ("white below black", [f"{M}.PIXEL_RANGE=[255,0]"], f"{M}.PIXEL_RANGE is [255, 0]; it must"),
    ("black as text", [f"{M}.PIXEL_RANGE=[black,1]"], f"{M}.PIXEL_RANGE is ['black', 1]"),
    (
        "another normalization than training's",
        ["config.DATA.TEST.TRANSFORMS.3.mean=[0,0,0]"],
        "config.DATA.TEST.TRANSFORMS normalize with mean [0.0] and std",
    ),
    (
        "another normalization in torchvision's other spelling",
        ["config.DATA.TEST.TRANSFORMS.3.name=normalize", "config.DATA.TEST.TRANSFORMS.3.std=[1]"],
        "config.DATA.TEST.TRANSFORMS normalize with mean [0.485, 0.456, 0.406] and std [1.0]",
    ),
    (
        "a normalization of training images alone",
        [
            "config.DATA.TEST.TRANSFORMS=[{name:Resize,size:64},{name:CenterCrop,size:56},"
            "{name:ToTensor},{name:MSCNHighPass,sigma:1.25}]"
        ],
        "config.DATA.TEST.TRANSFORMS do not normalize, and config.DATA.TRAIN.TRANSFORMS normalize",
    ),
    (
        "means of 0 to 255",
        ["config.DATA.TRAIN.TRANSFORMS.6.mean=[123.675,116.28,103.53]"],
        "config.DATA.TRAIN.TRANSFORMS[6].mean",
    ),
    (
        "a crop with a black border",
        ["config.DATA.TEST.TRANSFORMS.1.size=200"],
        "config.DATA.TEST.TRANSFORMS[1].size is 200, larger than the 64 pixels",
    ),
    (
        "a crop with a black border, in torchvision's other spelling",
        [f"{V}=[{{name:resize,size:[32,64]}},{{name:center_crop,size:56}},{SEEN}]"],
        f"{V}[1].size is 56, larger than the 32 x 64 pixels to which Resize",
    ),
    (
        "a mean behind the filter",
        [f"{V}=[{{name:Resize,size:64}},{{name:CenterCrop,size:56}},{FILTERED_FIRST}]"],
        f"{V}[4] is Normalize, after MSCNHighPass; it must come before it",
    ),
    (
        "a filter behind masks",
        [f"{V}=[{{name:ToTensor}},{MEAN},{{name:MSCNMask}},{FILTER}]"],
        f"{V}[3] is MSCNHighPass, after MSCNMask; it must come before it",
    ),
    (
        "a filter in the trunk behind masks",
        [
            "config.MODEL.TRUNK.NAME=high_pass_small_resnet",
            "+config.MODEL.TRUNK.HIGH_PASS.SIGMA=1.25",
            "config.DATA.TRAIN.TRANSFORMS.7.sigma=0",
            "config.DATA.TEST.TRANSFORMS.4.sigma=0",
        ],
        "config.MODEL.TRUNK.NAME is high_pass_small_resnet, whose filter comes after the masks",
    ),
    ("a port that cannot be", ["config.DISTRIBUTED.RUN_ID=localhost:99999"], "DISTRIBUTED.RUN_ID"),
    (
        "a schedule that nobody reads",
        ["+config.OPTIMIZER.param_schedulers.momentum={name:constant,value:7}"],
        "config.OPTIMIZER.param_schedulers.momentum is a schedule that VISSL does not read",
    ),
    (
        "a sharded head on a CPU",
        ["config.MODEL.HEAD.PARAMS=[[mlp_fsdp,{dims:[128,64]}]]"],
        "config.MODEL.HEAD.PARAMS[0][0] is 'mlp_fsdp', which needs GPUs",
    ),
    ("channels in words", [f"{M}.CHANNELS=four"], f"{M}.CHANNELS is 'four'; it must be null, or a"),
    (
        "pictures' augmentations for arrays",
        [f"{M}.CHANNELS=3"],
        f"{T}[0] is ImgReplicatePil, which is for pictures",
    ),
    ("statistics of pictures", [f"{M}.STATISTICS=s.json"], f"{M}.STATISTICS is 's.json', which"),
    ("an endless pixel range", [f"{M}.PIXEL_RANGE=[0,inf]"], f"{M}.PIXEL_RANGE[1] is inf"),
    # Masks
    ("ratio above 1", [f"{C}.ratio=1.5"], f"{C}.ratio is 1.5; it must be a fraction"),
    ("ratio of nothing left", [f"{C}.ratio=1.0"], "ratio"),
    ("ratio below 0", [f"{C}.ratio=-0.1"], "ratio"),
    ("ratio as text", [f"{C}.ratio=much"], "ratio"),
    ("ratio not a number", [f"{C}.ratio=nan"], "ratio"),
    (
        "three branches",
        [f"{C}.ratio=[0.1,0.2,0.3]"],
        f"{C}.ratio is [0.1, 0.2, 0.3]; it must be one",
    ),
    (
        "cells larger than the crop",
        [f"{C}.cell_size=57"],
        f"{C}.cell_size is 57; it must be at most the image's",
    ),
    ("cells of nothing", [f"{C}.cell_size=0"], "cell_size"),
    ("cells of half a pixel", [f"{C}.cell_size=7.5"], "cell_size"),
    (
        "cells of three sides",
        [f"{C}.cell_size=[8,8,8]"],
        f"{C}.cell_size is [8, 8, 8]; it must be a whole number of pixels, at least 1, or a list",
    ),
    (
        "cells wider than the crop",
        [f"{C}.cell_size=[8,57]"],
        f"{C}.cell_size is [8, 57]; its height must be at most the image's, 56, and its width",
    ),
    (
        "cells for three branches",
        [f"{C}.cell_size=[[8,8],[8,8],[8,8]]"],
        f"{C}.cell_size is [[8, 8], [8, 8], [8, 8]]; it must be one value, or a list with one",
    ),
    (
        "more kinds of masks than masks",
        [f"+{C}.band_probability=0.6"],
        f"{C}.focal_probability 0.5 and band_probability 0.6 are together above 1",
    ),
    (
        "no bands",
        [f"+{C}.row_bands=0", f"+{C}.column_bands=0"],
        f"{C}.row_bands is 0, and column_bands, too; one of them must be above 0",
    ),
    (
        "a band higher than the crop",
        [f"+{C}.band_probability=0.2", f"+{C}.row_band_size=57"],
        f"{C}.row_band_size is 57; it must be at most the image's height, 56",
    ),
    (
        "more hidden than bands can hide",
        [f"+{C}.band_probability=0.2", f"{C}.ratio=0.95"],
        f"{C}.ratio is 0.95; with band masks of 2 + 2 bands it must be at most 0.9375",
    ),
    (
        "a channel in two groups",
        [f"+{C}.channel_groups={{warm:[0,1],cold:[1,2]}}"],
        f"{C}.channel_groups is {{'warm': [0, 1], 'cold': [1, 2]}}; it must be null, or groups",
    ),
    (
        "groups of other channels",
        [f"+{C}.channel_groups=[[0,1],[2],[3]]"],
        f"{C}.channel_groups is [[0, 1], [2], [3]]; it must be null, or groups",
    ),
    (
        "a probability in percent",
        [f"{C}.focal_probability=40"],
        f"{C}.focal_probability is 40; it must be a",
    ),
    ("a negative probability", [f"{C}.channelwise_probability=-0.7"], "channelwise_probability"),
    ("one branch", [f"{C}.channelwise_probability=[0.5]"], f"{C}.channelwise_probability is [0.5]"),
    ("one wrong branch", [f"{C}.channelwise_probability=[0.7,1.2]"], "channelwise_probability"),
    (
        "a box larger than the crop",
        [f"{C}.focal_size=60"],
        f"{C}.focal_size is 60; it must be at most",
    ),
    ("negative noise", [f"{C}.noise_std=-0.1"], f"{C}.noise_std is -0.1; it must be at least 0"),
    ("infinite noise", [f"{C}.noise_std=inf"], "noise_std"),
    ("no masks", [f"{C}.num_masks=0"], f"{C}.num_masks is 0; it must be a whole number"),
    ("half a mask", [f"{C}.num_masks=1.5"], "num_masks"),
    (
        "masks for three branches",
        [f"{C}.num_masks=[1,2,3]"],
        f"{C}.num_masks is [1, 2, 3]; it must be",
    ),
    (
        "misspelled mask key",
        [f"+{C}.cellsize=8"],
        f"{C}.cellsize is not a key of mscn_multimask_collator; did you ",
    ),
    (
        "a layout that is no switch",
        [f"{C}.split_branches=sometimes"],
        f"{C}.split_branches is 'sometimes'; it must be True or False",
    ),
    (
        "a momentum branch without momentum",
        [f"+{C}.momentum_branch=true"],
        "momentum_branch is True; with mscn_info_nce_loss it must",
    ),
    (
        "branches split twice",
        [f"{C}.split_branches=true", f"+{C}.momentum_branch=true"],
        f"{C}.split_branches is True; with momentum_branch, which hands over the branches",
    ),
    (
        "a momentum branch that is a number",
        [f"+{C}.momentum_branch=2"],
        "momentum_branch is 2; it must be True or False",
    ),
    # Transforms
    ("negative sigma", [f"{T}.7.sigma=-1"], "sigma"),
    (
        "a filter that leaves nothing",
        [f"{T}.7.sigma=0.1"],
        f"{T}[7].sigma is 0.1; it must be 0, for no filter, or at least 0.25 pixels",
    ),
    ("sigma as text", [f"{T}.7.sigma=five"], "sigma"),
    ("sigma wider than the crop", [f"{T}.7.sigma=57"], "sigma"),
    ("misspelled sigma", [f"+{T}.7.sigm=1"], "sigm"),
    ("misspelled transform", [f"{T}.7.name=MSCNHighpass"], "TRANSFORMS"),
    ("one view", [f"{T}.0.num_times=1"], "num_times"),
    ("three views", [f"{T}.0.num_times=3"], "num_times"),
    ("other sigma in evaluation", ["config.DATA.TEST.TRANSFORMS.4.sigma=5"], "config.DATA.TEST"),
    ("a crop of nothing", [f"{T}.1.size=0"], "size"),
    (
        "no transform",
        [f"{T}.3=null"],
        "TRANSFORMS[3] is None; it must be a section",
    ),
    (
        "misspelled strength",
        [f"+{T}.3.strenght=2"],
        f"{T}[3].strenght is not a key of ImgPilColorDistortion; did you mean strength?",
    ),
    (
        "misspelled key of torchvision",
        [f"+{T}.1.scales=[0.2,1]"],
        f"{T}[1].scales is not a key of RandomResizedCrop; did you mean scale?",
    ),
    ("a flip more often than always", [f"{T}.2.p=2"], f"{T}[2].p is 2; it must be a number from 0"),
    ("no such interpolation", [f"+{T}.1.interpolation=99"], f"{T}[1].interpolation is 99; it must"),
    ("a blur from wide to narrow", [f"{T}.4.radius_min=3"], f"{T}[4].radius_min is 3; it must be"),
    ("a jitter around the circle", [f"{T}.3.strength=9"], "hue values should be between"),
    ("views that nobody makes", [f"{T}.0.name=Resize", f"+{T}.0.size=64"], "num_times"),
    ("pictures for the collator", [f"{T}=[{{name:ToTensor}},{{name:ToTensor}}]"], "config.DATA"),
    # Collator, loss, model
    ("misspelled collator", [f"{D}.COLLATE_FUNCTION=mscn_colator"], "COLLATE_FUNCTION"),
    (
        "internal collator",
        [f"{D}.COLLATE_FUNCTION=mscn_mask_drawing_collator"],
        "which MSCN itself sets where it is needed; it must be mscn_multimask_collator",
    ),
    (
        "colors in another order than the trunk takes",
        ["+config/mscn/models=efficientnet_b0", "config.MODEL.INPUT_TYPE=bgr"],
        "config.MODEL.INPUT_TYPE is bgr, which the trunk efficientnet ignores",
    ),
    ("misspelled loss", [f"{L}.name=mscn_infonce_loss"], "LOSS.name"),
    (
        "temperature of 0",
        [f"{L}.mscn_info_nce_loss.temperature=0"],
        f"{L}.mscn_info_nce_loss.temperature is 0; it must be a finite number above 0",
    ),
    ("infinite temperature", [f"{L}.mscn_info_nce_loss.temperature=inf"], "temperature"),
    (
        "unknown negatives",
        [f"{L}.mscn_info_nce_loss.negatives=some"],
        f"{L}.mscn_info_nce_loss.negatives is 'some'; it must be one of ['pair', 'all']",
    ),
    (
        "loss with another K",
        [f"{L}.mscn_info_nce_loss.num_masks=3"],
        f"{L}.mscn_info_nce_loss.num_masks is 3, but the collator makes [2, 2]",
    ),
    (
        "misspelled loss key",
        [f"+{L}.mscn_info_nce_loss.temprature=0.1"],
        f"{L}.mscn_info_nce_loss.temprature is not a key of MSCNInfoNCELoss; did you mean",
    ),
    (
        "several masks for VISSL's loss",
        [f"{L}.name=barlow_twins_loss"],
        "num_masks is 2, but barlow_twins_loss is VISSL's and",
    ),
    (
        "several masks for MoCo",
        [f"{L}.name=moco_loss"],
        "num_masks is 2, but moco_loss is VISSL's and takes one mask",
    ),
    (
        "BYOL without predictor",
        [BYOL, f"{H}=[[mlp,{{dims:[null,64]}}]]"],
        "has 1 heads with outputs [64]; byol_loss",
    ),
    (
        "BYOL with two sizes",
        [BYOL, f"{H}={TWO_SIZES}"],
        "has 2 heads with outputs [64, 32]; byol_loss needs at least two, the last of them the",
    ),
    (
        "BYOL with tau of 1",
        [BYOL, f"{B}.target_momentum=1.0"],
        f"{B}.target_momentum is 1.0; it must be at least 0 and below",
    ),
    (
        "BYOL with unknown input",
        [BYOL, f"{B}.target_input=half"],
        f"{B}.target_input is 'half'; it must be one of",
    ),
    (
        "BYOL with another K",
        [BYOL, f"{B}.num_masks=3"],
        f"{B}.num_masks is 3, but the collator makes [2, 2]",
    ),
    ("misspelled key of BYOL", [BYOL, f"+{B}.tau=0.9"], f"{B}.tau is not a key of BYOLLoss; "),
    (
        "BYOL with MoCo's collator",
        [BYOL, f"{D}.COLLATE_FUNCTION=moco_collator"],
        "is moco_collator; byol_loss compares two",
    ),
    ("BYOL with a sharded head", [BYOL, f"{H}.0.0=mlp_fsdp"], "which needs GPUs"),
    (
        "BYOL without the unmasked views that it looks at",
        [BYOL, f"{B}.target_input=unmasked", f"{C}=null", f"{D}.COLLATE_FUNCTION=simclr_collator"],
        f"{B}.target_input is unmasked, which",
    ),
    (
        "BYOL in VISSL's task",
        [BYOL, "config.TRAINER.TASK_NAME=self_supervision_task"],
        "TASK_NAME is self_supervision_task; it must",
    ),
    ("misspelled task", ["config.TRAINER.TASK_NAME=mscn_tusk"], "TASK_NAME"),
    ("misspelled trunk", ["config.MODEL.TRUNK.NAME=smal_resnet"], "TRUNK.NAME"),
    (
        "depth that does not exist",
        ["config.MODEL.TRUNK.SMALL_RESNET.DEPTH=20"],
        "SMALL_RESNET.DEPTH is 20; it must be one of",
    ),
    (
        "misspelled trunk setting",
        ["+config.MODEL.TRUNK.SMALL_RESNET.WIDHT=8"],
        "WIDHT is not a setting of small_resnet; did you",
    ),
    ("no width", ["config.MODEL.TRUNK.SMALL_RESNET.WIDTH=0"], "WIDTH"),
    (
        "misspelled model of timm",
        [TIMM, "config.MODEL.TRUNK.TIMM.NAME=convnxt_tiny"],
        "config.MODEL.TRUNK.TIMM.NAME is 'convnxt_tiny', which is not a model of timm; did you",
    ),
    (
        "a transformer",
        [TIMM, "config.MODEL.TRUNK.TIMM.NAME=vit_tiny_patch16_224"],
        "config.MODEL.TRUNK.TIMM.NAME is 'vit_tiny_patch16_224', which is not a ConvNet",
    ),
    (
        "an argument that a model of timm does not have",
        [TIMM, "+config.MODEL.TRUNK.TIMM.KWARGS.depth=3"],
        "config.MODEL.TRUNK.TIMM.KWARGS is {'depth': 3}, which timm's convnext_tiny does not take",
    ),
    (
        "crops too small for a model of timm",
        [TIMM, "config.MODEL.TRUNK.TIMM.NAME=inception_v3"],
        "'inception_v3', which does not take the crops of config.DATA.TRAIN.TRANSFORMS, 56 x 56",
    ),
    (
        "images of other channels than a model of timm takes",
        [TIMM, "config.MODEL.TRUNK.TIMM.IN_CHANS=4"],
        "TIMM.IN_CHANS is 4; it must be null or 3, the channels of the images",
    ),
    (
        "a model of timm under apex's SyncBN",
        [
            TIMM,
            "config.MODEL.SYNC_BN_CONFIG.CONVERT_BN_TO_SYNC_BN=true",
            "config.MODEL.SYNC_BN_CONFIG.SYNC_BN_TYPE=apex",
        ],
        "SYNC_BN_TYPE is 'apex'; it must be pytorch with a trunk of timm",
    ),
    (
        "projector of another width",
        ["config.MODEL.HEAD.PARAMS=[[mlp,{dims:[100,64]}]]"],
        "dims[0] is 100, but the trunk small_resnet",
    ),
    ("misspelled head", ["config.MODEL.HEAD.PARAMS=[[mpl,{dims:[null,64]}]]"], "HEAD"),
    ("no sizes of layers", [f"{H}.0.1.dims=[]"], f"{H}[0][1].dims is []; it must be a list of at"),
    ("maybe batch normalization", [f"{H}.0.1.use_bn=maybe"], f"{H}[0][1].use_bn is 'maybe'; it mu"),
    (
        "misspelled batch normalization",
        [f"+{H}.0.1.use_bnn=True"],
        f"{H}[0][1].use_bnn is not a key of mlp; did you mean use_bn?",
    ),
    ("heads that do not chain", [f"{H}.1.1.dims=[64,64]"], "HEAD.PARAMS"),
    # Optimizer and schedule
    (
        "misspelled eta",
        [f"{OPT}.name=lars", f"+{OPT}.etaa=1"],
        f"{OPT}.etaa is not a key of lars; did you mean eta?",
    ),
    ("a rate that nobody reads", [f"+{OPT}.lr=0.1"], f"{OPT}.lr is 0.1, which VISSL does not read"),
    (
        "nesterov without momentum",
        [f"{OPT}.nesterov=True", f"{OPT}.momentum=0"],
        "Nesterov momentum requires a momentum",
    ),
    ("nesterov of LARS", [f"{OPT}.name=lars", f"{OPT}.nesterov=True"], f"{OPT}.nesterov is True"),
    ("no learning rate", [f"{S}.start_value=0"], "start_value"),
    (
        "negative learning rate",
        [f"{S}.start_value=-1", f"{S}.auto_lr_scaling.auto_scale=False"],
        "start_value",
    ),
    ("a negative warm-up", [f"{S}.warmup_epochs=-1"], f"{S}.warmup_epochs is -1; it must be"),
    (
        "a warm-up by the epoch",
        [f"{S}.update_interval=epoch"],
        "update_interval is 'epoch' and the rate at the start 0, so that the whole first epoch",
    ),
    ("negative end", [f"{S}.end_value=-1"], f"{S}.end_value is -1; it must be at least 0"),
    ("misspelled schedule", [f"{S}.name=mscn_warmup_cosin"], "param_schedulers.lr"),
    ("misspelled schedule key", [f"+{S}.warmup_epoch=1"], "warmup_epoch"),
    ("no epochs", [f"{OPT}.num_epochs=0"], "num_epochs"),
    ("half an epoch", [f"{OPT}.num_epochs=2.5"], "num_epochs"),
    ("misspelled optimizer", [f"{OPT}.name=larz"], "OPTIMIZER.name"),
    ("momentum above 1", [f"{OPT}.momentum=1.9"], "momentum"),
    ("negative weight decay", [f"{OPT}.weight_decay=-1"], "weight_decay"),
    ("LARC without apex", [f"{OPT}.use_larc=True"], "use_larc"),
    ("rate for no batch", [f"{S}.auto_lr_scaling.base_lr_batch_size=0"], "base_lr_batch_size"),
    # Data
    ("a batch of 1", [f"{D}.BATCHSIZE_PER_REPLICA=1"], "BATCHSIZE_PER_REPLICA is 1; it must be"),
    ("a batch as text", [f"{D}.BATCHSIZE_PER_REPLICA=all"], "BATCHSIZE_PER_REPLICA"),
    (
        "a batch larger than the data",
        [f"{D}.BATCHSIZE_PER_REPLICA=99999"],
        "BATCHSIZE_PER_REPLICA",
    ),
    ("no images", [f"{D}.DATA_LIMIT=0"], f"{D}.DATA_LIMIT is 0; it must be -1"),
    ("fewer images than a batch", [f"{D}.DATA_LIMIT=10"], "the training data has 10 (config.DATA"),
    (
        "a last batch of one",
        [f"{D}.DATA_LIMIT=57", f"{D}.BATCHSIZE_PER_REPLICA=8", f"{D}.DROP_LAST=False"],
        "DROP_LAST False: of 57 images in 1 processes the last batch has one",
    ),
    ("an own key among VISSL's", [f"+{D}.IMAGE_SIZE=64"], f"{D}.IMAGE_SIZE is not a key of VISSL"),
    ("no key at all", ["~config.CHECKPOINT.DIR"], "config.CHECKPOINT.DIR is missing"),
    ("negative workers", ["config.DATA.NUM_DATALOADER_WORKERS=-1"], "NUM_DATALOADER_WORKERS"),
    (
        "no such folder",
        [f"{M}.DATA=no/such/folder"],
        f"{M}.DATA is 'no/such/folder', which is not a folder",
    ),
    ("a folder without images", [f"{M}.DATA=empty"], "MSCN.DATA"),
    (
        "shards that are not there",
        [f"{M}.DATA='empty/{{000..002}}.tar'"],
        "000.tar, which is missing, and 2 more files are missing",
    ),
    (
        "a shard that is none",
        [f"{M}.DATA=''", f"{D}.DATA_SOURCES=[tar_shards]", f"{D}.DATA_PATHS=[empty]"],
        f"{D}.DATA_PATHS names 'empty', which holds no .tar files",
    ),
    ("an address", [f"{M}.DATA='s3://x/0.tar'"], "the files must be on a disk of this machine"),
    ("a cache on a disk", [f"{M}.CACHE=disk"], f"{M}.CACHE is 'disk'; it must be none or memory"),
    (
        "a list of images that is none",
        [f"{M}.DATA=''", f"{D}.DATA_SOURCES=[disk_filelist]", f"{D}.DATA_PATHS=[a_file]"],
        f"{D}.DATA_PATHS names 'a_file', which cannot be read as a list",
    ),
    (
        "a list of images that is not there",
        [f"{M}.DATA=''", f"{D}.DATA_SOURCES=[disk_filelist]", f"{D}.DATA_PATHS=[none.npy]"],
        f"{D}.DATA_PATHS names 'none.npy', which cannot be read as a list",
    ),
    (
        "two names for one data set",
        [f"{M}.DATA=''", f"{D}.DATA_PATHS=[empty]", f"{D}.DATASET_NAMES=[a,b]"],
        f"{D}.DATASET_NAMES is ['a', 'b']; it must have as many entries",
    ),
    (
        "one folder for two sources",
        [f"{M}.DATA=''", f"{D}.DATA_PATHS=[empty,empty]"],
        f"{D}.DATA_PATHS is ['empty', 'empty']; it must have as many entries",
    ),
    ("a queue of images", ["config.DATA.TRAIN.ENABLE_QUEUE_DATASET=True"], "ENABLE_QUEUE_DATASET"),
    # MSCN's own section
    ("misspelled section", ["+config.MSNC.DATA=photographs"], "MSNC"),
    ("misspelled key", [f"+{M}.DEVICE_VIEW=True"], "DEVICE_VIEW"),
    (
        "a switch that is a number",
        [f"{M}.DEVICE_VIEWS=1"],
        f"{M}.DEVICE_VIEWS is 1; it must be True or False or",
    ),
    (
        "a switch that is zero",
        [f"{M}.DEVICE_VIEWS=0"],
        f"{M}.DEVICE_VIEWS is 0; it must be True or False or",
    ),
    (
        "augmentations on a GPU by its name",
        [f"{M}.AUGMENT_ON=gpu"],
        f"{M}.AUGMENT_ON is 'gpu'; it must be worker or device or auto",
    ),
    (
        "augmentations on the device, views in the workers",
        [f"{M}.AUGMENT_ON=device", f"{M}.DEVICE_VIEWS=False"],
        f"{M}.AUGMENT_ON is device, but {M}.DEVICE_VIEWS is False, which leaves no views to",
    ),
    (
        "a bar that is a number",
        [f"{M}.PROGRESS_BAR=7"],
        f"{M}.PROGRESS_BAR is 7; it must be True or False or",
    ),
    (
        "a switch without auto",
        [f"{M}.FAST_AUGMENTATIONS=auto"],
        f"{M}.FAST_AUGMENTATIONS is 'auto'; it must be True or F",
    ),
    (
        "a memory format that is a number",
        [f"{M}.CHANNELS_LAST=3"],
        f"{M}.CHANNELS_LAST is 3; it must be True or False",
    ),
    (
        "a compilation that is a maybe",
        [f"{M}.COMPILE_TRUNK=maybe"],
        f"{M}.COMPILE_TRUNK is 'maybe'; it must be True or",
    ),
    ("more than all may be unreadable", [f"{M}.MAX_UNREADABLE_SHARE=2"], "MAX_UNREADABLE_SHARE"),
    ("a subset of more than all", [f"{M}.TRAIN_SUBSET=1.5"], "TRAIN_SUBSET"),
    ("negative pictures", [f"{M}.PICTURE_IMAGES=-1"], "PICTURE_IMAGES"),
    (
        "no neighbors",
        [f"{M}.ONLINE_EVALUATION.NUM_NEIGHBORS=0"],
        "NUM_NEIGHBORS is 0; it must be a whole",
    ),
    (
        "neighbors at a temperature of 0",
        [f"{M}.ONLINE_EVALUATION.TEMPERATURE=0"],
        "TEMPERATURE is 0; it must be a finite number above 0",
    ),
    (
        "misspelled evaluation key",
        [f"+{M}.ONLINE_EVALUATION.EVERY=1"],
        f"{M}.ONLINE_EVALUATION.EVERY is not a key",
    ),
    (
        "target of a loss without one",
        [f"{M}.ONLINE_EVALUATION.NETWORK=target"],
        "NETWORK is target, which mscn_info_nce_loss",
    ),
    (
        "a network that there is not",
        [f"{M}.ONLINE_EVALUATION.NETWORK=teacher"],
        "NETWORK is 'teacher'; it must be online or",
    ),
    (
        "a service that is no list",
        [f"{M}.TRACKING=wandb"],
        f"{M}.TRACKING is 'wandb'; it must be a list of some of wandb, mlflow, or empty",
    ),
    ("a service that there is not", [f"{M}.TRACKING=[comet]"], f"{M}.TRACKING is ['comet']; it"),
    (
        "a service named twice",
        [f"{M}.TRACKING=[mlflow,mlflow]"],
        f"{M}.TRACKING is ['mlflow', 'mlflow']; it must be",
    ),
    (
        "a project without a name",
        [f"{M}.TRACKING_PROJECT=''"],
        f"{M}.TRACKING_PROJECT is ''; it must be text, not empty",
    ),
    (
        "a folder of tracking that is a number",
        [f"{M}.TRACKING_DIR=3"],
        f"{M}.TRACKING_DIR is 3; it must be text",
    ),
    # What a configuration says twice
    (
        "two training sets",
        [f"{D}.DATA_PATHS=[empty]"],
        f"{D}.DATA_PATHS is ['empty'] and {M}.DATA",
    ),
    (
        "two validation sets",
        ["config.DATA.TEST.DATA_PATHS=[empty]"],
        f"config.DATA.TEST.DATA_PATHS is ['empty'] and {M}.DATA",
    ),
    ("labels from elsewhere", [f"{D}.LABEL_PATHS=[empty]"], f"{D}.LABEL_PATHS is ['empty'] and"),
    (
        "a data set by name beside a folder",
        [f"{D}.DATASET_NAMES=[cifar10]"],
        f"{D}.DATASET_NAMES is ['cifar10'] and {M}.DATA",
    ),
    (
        "synthetic images beside a folder",
        [f"{D}.DATA_SOURCES=[synthetic]"],
        f"{D}.DATA_SOURCES is ['synthetic'] and {M}.DATA",
    ),
    ("labels and none", [f"{D}.LABEL_SOURCES=[]"], f"{D}.LABEL_SOURCES is [] and {M}.DATA"),
    (
        "a predictor for InfoNCE",
        [BYOL, f"{L}.name=mscn_info_nce_loss"],
        f"{L}.name is mscn_info_nce_loss, and {L}.byol_loss is configured",
    ),
    (
        "a predictor for Barlow Twins",
        [BYOL, f"{L}.name=barlow_twins_loss", f"{C}.num_masks=1"],
        f"{L}.name is barlow_twins_loss, and {L}.byol_loss is configured",
    ),
    (
        "BYOL in a common pass of branches that come apart",
        [BYOL, "config.MODEL.BASE_MODEL_NAME=multi_input_output_model"],
        "config.MODEL.BASE_MODEL_NAME is multi_input_output_model, which joins the branches",
    ),
    (
        "branches that come apart for nothing",
        [f"{C}.split_branches=True"],
        "config.MODEL.BASE_MODEL_NAME is multi_input_output_model, which joins the branches",
    ),
    # Counts and frequencies
    (
        "more neighbors than images",
        [f"{M}.ONLINE_EVALUATION.NUM_NEIGHBORS=99999"],
        "NUM_NEIGHBORS is 99999; it must be at most the number of images that the online evaluat",
    ),
    (
        "more neighbors than images that are taken",
        [f"{M}.ONLINE_EVALUATION.MAX_TRAIN_IMAGES=10"],
        "NUM_NEIGHBORS is 20; it must be at most the number of images that the online evaluation",
    ),
    ("more images than there are", [f"{D}.DATA_LIMIT=99999"], f"{D}.DATA_LIMIT is 99999; it must"),
    (
        "more validation images than there are",
        [
            "config.DATA.TEST.DATA_LIMIT=10",
            "config.DATA.TEST.DATA_LIMIT_SAMPLING.SKIP_NUM_SAMPLES=3",
        ],
        "config.DATA.TEST.DATA_LIMIT is 10; it must be -1, which takes all, or at most the number "
        "of validation images without the SKIP_NUM_SAMPLES, 9",
    ),
    (
        "fewer images than classes that are to have some",
        [f"{D}.DATA_LIMIT=3", f"{D}.DATA_LIMIT_SAMPLING.IS_BALANCED=True"],
        f"{D}.DATA_LIMIT is 3, and {D}.DATA_LIMIT_SAMPLING.IS_BALANCED takes as many images of",
    ),
    (
        "checkpoints every 0 iterations",
        ["config.CHECKPOINT.CHECKPOINT_ITER_FREQUENCY=0"],
        "CHECKPOINT_ITER_FREQUENCY is 0; it must be a whole number of at least 1, or -1 for never",
    ),
    (
        "times every 0 iterations",
        ["config.HOOKS.PERF_STATS.PERF_STAT_FREQUENCY=0"],
        "PERF_STAT_FREQUENCY is 0; it must be",
    ),
    (
        "rolling times of 0 iterations",
        ["config.HOOKS.PERF_STATS.ROLLING_BTIME_FREQ=0"],
        "ROLLING_BTIME_FREQ is 0; it must be",
    ),
    (
        "a cache cleared every 0 iterations",
        ["config.MODEL.CUDA_CACHE.CLEAR_FREQ=0"],
        "config.MODEL.CUDA_CACHE.CLEAR_FREQ is 0; it must be",
    ),
    ("a profile of nothing", ["config.PROFILING.NUM_ITERATIONS=0"], "PROFILING.NUM_ITERATIONS is"),
    # Rates that VISSL puts in the place of the user's
    (
        "steps that nobody gave",
        [f"{S}.name=multistep", f"{S}.milestones=[2,4]"],
        f"{S}.values is [0.1, 0.01, 0.001], VISSL's default",
    ),
    (
        "milestones that nobody gave",
        [f"{S}.name=multistep", f"{S}.values=[0.2,0.02,0.002]"],
        f"{S}.milestones is [30, 60], VISSL's default",
    ),
    (
        "steps of another rate",
        [f"{S}.name=multistep", f"{S}.milestones=[2]", f"{S}.values=[0.5,0.05]"],
        f"{S}.values is [0.5, 0.05], but auto_lr_scaling takes its own base_value, 0.2",
    ),
    (
        "steps that scaling would change",
        [f"{S}.name=multistep", f"{S}.milestones=[2,4]", f"{S}.values=[0.2,0.1,0.01]"],
        f"{S}.values is [0.2, 0.1, 0.01]; auto_lr_scaling keeps the first two",
    ),
    (
        "a constant rate that auto_lr_scaling replaces",
        [f"{S}.name=constant", f"{S}.value=0.5"],
        f"{S}.value is 0.5, but auto_lr_scaling takes",
    ),
    ("a rate that stays", [f"{S}.name=linear"], f"{S}.end_value is 0.0, but auto_lr_scaling"),
    (
        "a cosine from 0",
        [f"{S}.name=cosine", f"{S}.start_value=0"],
        f"{S}.start_value is 0, but auto_lr_scaling takes",
    ),
    (
        "a schedule that VISSL cannot scale",
        [f"{S}.name=polynomial", f"+{S}.power=0.9"],
        f"{S}.name is 'polynomial', which auto_lr_scaling cannot scale: add {S}.auto_lr_scaling.",
    ),
    # What Hydra merges
    (
        "another transform in the place of one",
        [f"{T}.4.name=RandomRotation"],
        f"~{T}.4.p ~{T}.4.radius_min ~{T}.4.radius_max removes them; to replace an entry give "
        f"the whole list, {T}=[...]",
    ),
    (
        "an entry of a list",
        [f"{T}.3={{name:RandomRotation,degrees:10}}"],
        f"no entry of a list can: give the whole list, {T}=[...]",
    ),
    (
        "a collator without parameters, with some",
        [f"{D}.COLLATE_FUNCTION=simclr_collator", f"{C}={{}}"],
        f"{C}=null removes all, which {{}} does not",
    ),
    (
        "an address that a config leaves open",
        ["config.DISTRIBUTED.RUN_ID=xxxxxxxx"],
        "config.DISTRIBUTED.RUN_ID is 'xxxxxxxx'; it must be auto, or <host>:<port> of the first "
        "node; on one machine add config.DISTRIBUTED.RUN_ID=auto",
    ),
    (
        "a config of VISSL as it is",
        ["config=pretrain/simclr/simclr_8node_resnet", f"+{M}.DATA=empty"],
        "on one machine add config.DISTRIBUTED.RUN_ID=auto config.DISTRIBUTED.NUM_NODES=1",
    ),
    # VISSL's losses under masked views, and what pre-training cannot have
    ("a queue of nothing", [*MOCO, f"{L}.moco_loss.queue_size=0"], "moco_loss.queue_size is 0; it"),
    (
        "an average that forgets what it has learned",
        [BYOL, f"+{B}.target_momentum_end=0.5"],
        f"{B}.target_momentum_end is 0.5; it must be from target_momentum, 0.99, to 1",
    ),
    (
        "VICReg that pushes apart",
        ["config=mscn/vicreg_quickstart", f"{L}.vicreg_loss.sim_coeff=-1"],
        f"{L}.vicreg_loss.sim_coeff is -1; it must be at least 0 and finite",
    ),
    (
        "VICReg that wants no spread",
        ["config=mscn/vicreg_quickstart", f"{L}.vicreg_loss.gamma=0"],
        f"{L}.vicreg_loss.gamma is 0; it must be a finite number above 0",
    ),
    (
        "a misspelled coefficient of VICReg",
        ["config=mscn/vicreg_quickstart", f"+{L}.vicreg_loss.std_coef=1"],
        f"{L}.vicreg_loss.std_coef is not a key of VICRegLoss; did you mean std_coeff",
    ),
    (
        "Barlow Twins of several masks without its second term",
        [f"{L}.name=mscn_barlow_twins_loss", f"+{L}.mscn_barlow_twins_loss={{lambda_:0}}"],
        f"{L}.mscn_barlow_twins_loss.lambda_ is 0; it must be a finite number above 0",
    ),
    (
        "SwAV on views in one tensor",
        ["config=mscn/swav_quickstart", f"{C}.split_branches=False"],
        f"{C}.split_branches is False; with swav_loss, which takes a list of views, it must",
    ),
    (
        "SwAV of more crops than there are views",
        ["config=mscn/swav_quickstart", f"{L}.swav_loss.num_crops=8"],
        f"{L}.swav_loss.num_crops is 8; it must be 2, as many as mscn_multimask_collator makes",
    ),
    (
        "SwAV's codes of a crop that is not there",
        ["config=mscn/swav_quickstart", f"{L}.swav_loss.crops_for_assign=[0,1,2]"],
        f"{L}.swav_loss.crops_for_assign is [0, 1, 2]; it must be a list with entries",
    ),
    (
        "DINO's teacher on the second view alone",
        ["config=mscn/dino_quickstart", f"{L}.dino_loss.crops_for_teacher=[1]"],
        f"{L}.dino_loss.crops_for_teacher is [1]; it must be the first of the 2 crops in their",
    ),
    (
        "MoCo at a temperature of 0",
        [*MOCO, f"{L}.moco_loss.temperature=0"],
        "moco_loss.temperature is 0; it must be a finite number above 0",
    ),
    (
        "MoCo that runs away",
        [*MOCO, f"{L}.moco_loss.momentum=1.5"],
        "moco_loss.momentum is 1.5; it must be a number from 0 to 1",
    ),
    (
        "a queue of other embeddings",
        [*MOCO, f"{L}.moco_loss.embedding_dim=64"],
        "moco_loss.embedding_dim is 64, and the last of config.MODEL.HEAD.PARAMS has 128",
    ),
    (
        "SimCLR of other embeddings",
        [f"{L}.name=simclr_info_nce_loss", f"{C}.num_masks=1"],
        f"{L}.simclr_info_nce_loss.buffer_params.embedding_dim is 128, and the last of",
    ),
    (
        "a loss of classes",
        [f"{L}.name=CrossEntropyLoss"],
        f"{L}.name is CrossEntropyLoss, which compares no views; with",
    ),
    (
        "an assertion of VISSL without words",
        [f"{L}.name=swav_loss", f"{C}.num_masks=1", f"{C}.split_branches=True"],
        "AssertionError: assert len(cfg.MODEL.HEAD.PARAMS) == 1",
    ),
    (
        "a test of classes",
        ["config.TEST_MODEL=True"],
        "config.TEST_MODEL is True; it must be False",
    ),
    (
        "accuracies of embeddings",
        ["config.METERS.name=accuracy_list_meter"],
        "config.METERS.name is 'accuracy_list_meter'; it must be empty",
    ),
    ("misspelled meters", ["config.METERS.names=[accurasy]"], "config.METERS.names is 'accurasy'"),
    (
        "a frozen trunk",
        ["config.MODEL.FEATURE_EVAL_SETTINGS.FREEZE_TRUNK_ONLY=True"],
        "FREEZE_TRUNK_ONLY is True; it must be False",
    ),
    (
        "another task by the back door",
        ["config.MODEL.FSDP_CONFIG.AUTO_SETUP_FSDP=True"],
        "AUTO_SETUP_FSDP is True; it must be False: VISSL would put another task",
    ),
    (
        "a second input",
        ["config.MODEL.MULTI_INPUT_HEAD_MAPPING=[[data,[res5]]]"],
        "MULTI_INPUT_HEAD_MAPPING is [['data', ['res5']]]; it must be []",
    ),
    (
        "misspelled frozen parameter",
        ["config.MODEL.NON_TRAINABLE_PARAMS=[trunk.conv1.weight]"],
        "NON_TRAINABLE_PARAMS names 'trunk.conv1.weight', which is not a parameter of the model",
    ),
    (
        "a frozen parameter without a time",
        ["config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP=[trunk]"],
        "TEMP_FROZEN_PARAMS_ITER_MAP is 'trunk'; it must be a list of a parameter's name and",
    ),
    (
        "misspelled parameter that is frozen for a time",
        ["config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP=[[module.heads.0.clf0.weight,1]]"],
        "TEMP_FROZEN_PARAMS_ITER_MAP names 'module.heads.0.clf0.weight', which is not a parameter",
    ),
    (
        "a frozen parameter without its prefix",
        ["config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP=[[heads.0.clf.0.weight,1]]"],
        "which is not a parameter of the model; did you mean module.heads.0.clf.0.weight?",
    ),
    (
        "a parameter that is never trained",
        ["config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP=[[trunk,2502]]"],
        "TEMP_FROZEN_PARAMS_ITER_MAP has 2502 iterations for trunk, which would never be trained",
    ),
    ("gradients clipped to 0", ["config.MODEL.GRAD_CLIP.MAX_NORM=0"], "GRAD_CLIP.MAX_NORM is 0"),
    (
        "heads of zeros",
        ["config.MODEL.HEAD.PARAMS_MULTIPLIER=0"],
        "PARAMS_MULTIPLIER is 0; it must",
    ),
    (
        "an input that nobody makes",
        [f"{D}.INPUT_KEY_NAMES=[image]"],
        f"{D}.INPUT_KEY_NAMES is ['image']; it must name what",
    ),
    (
        "a target that nobody makes",
        [f"{D}.TARGET_KEY_NAMES=[class]"],
        f"{D}.TARGET_KEY_NAMES is ['class']; it must name what",
    ),
    (
        "images beyond the last",
        [f"{D}.DATA_LIMIT=64", f"{D}.DATA_LIMIT_SAMPLING.SKIP_NUM_SAMPLES=999999"],
        f"{D}.DATA_LIMIT is 64; it must be -1, which takes all, or at most the number of",
    ),
    (
        "a seed that NumPy does not take",
        ["config.SEED_VALUE=5000000000"],
        "SEED_VALUE is 5000000000",
    ),
    (
        "apex that is not there",
        [
            "config.MACHINE.DEVICE=gpu",
            "config.MODEL.SYNC_BN_CONFIG.CONVERT_BN_TO_SYNC_BN=True",
            "config.MODEL.SYNC_BN_CONFIG.SYNC_BN_TYPE=apex",
        ],
        "SYNC_BN_TYPE is 'apex'; it must be pytorch where apex is not installed",
    ),
    (
        "a rendezvous that the environment lacks",
        ["config.DISTRIBUTED.INIT_METHOD=env"],
        "config.DISTRIBUTED.INIT_METHOD is 'env'; it must be tcp, or MASTER_ADDR and MASTER_PORT",
    ),
    (
        "layers' memory on a CPU",
        ["config.PROFILING.MEMORY_PROFILING.TRACK_BY_LAYER_MEMORY=True"],
        "TRACK_BY_LAYER_MEMORY is True; it must be False with config.MACHINE.DEVICE cpu",
    ),
    (
        "ranks by name",
        ["config.PROFILING.PROFILED_RANKS=[first]"],
        "PROFILED_RANKS is ['first']; it",
    ),
    (
        "an input of one dimension",
        ["config.HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE=[3]"],
        "INPUT_SHAPE is [3]; it must be channels, height and width",
    ),
    (
        "a job of no time",
        ["config.SLURM.USE_SLURM=True", "config.SLURM.TIME_HOURS=0"],
        "config.SLURM.TIME_HOURS is 0; it must be above 0",
    ),
    (
        "a folder of logs that is a file",
        ["config.SLURM.USE_SLURM=True", "config.SLURM.LOG_FOLDER=a_file"],
        "config.SLURM.LOG_FOLDER is 'a_file'; it must be a folder",
    ),
    # Machine and checkpoints
    (
        "GPUs that are not there",
        ["config.MACHINE.DEVICE=gpu"],
        "MACHINE.DEVICE",
    ),
    ("a device that does not exist", ["config.MACHINE.DEVICE=tpu"], "MACHINE.DEVICE"),
    ("two nodes of one", ["config.DISTRIBUTED.NUM_NODES=2"], "add config.DISTRIBUTED.NUM_NODES=1"),
    (
        "no such rendezvous",
        ["config.DISTRIBUTED.INIT_METHOD=udp"],
        "config.DISTRIBUTED.INIT_METHOD is 'udp'; it must be tcp or file or env",
    ),
    (
        "a rendezvous without a port",
        ["config.DISTRIBUTED.RUN_ID=here"],
        "config.DISTRIBUTED.RUN_ID is 'here'; it must be auto, or <host>:<port>",
    ),
    ("NCCL on a CPU", ["config.DISTRIBUTED.BACKEND=nccl"], "BACKEND is 'nccl'; it must be gloo"),
    (
        "a folder that is a number",
        ["config.CHECKPOINT.DIR=2026"],
        """config.CHECKPOINT.DIR is 2026; it must be text: 'config.CHECKPOINT.DIR="2026"'""",
    ),
    (
        "a folder outside of Hydra's grammar",
        ["config.CHECKPOINT.DIR=runs/lr=0.1"],
        """type 'config.CHECKPOINT.DIR="runs/lr=0.1"'""",
    ),
    ("no processes", ["config.DISTRIBUTED.NUM_PROC_PER_NODE=0"], "NUM_PROC_PER_NODE"),
    ("mixed precision on a CPU", ["config.MODEL.AMP_PARAMS.USE_AMP=True"], "USE_AMP"),
    ("checkpoints never", ["config.CHECKPOINT.CHECKPOINT_FREQUENCY=0"], "CHECKPOINT_FREQUENCY"),
    ("a checkpoint folder that is a file", ["config.CHECKPOINT.DIR=a_file"], "CHECKPOINT.DIR"),
    (
        "weights that are not there",
        ["config.MODEL.WEIGHTS_INIT.PARAMS_FILE=none"],
        "PARAMS_FILE",
    ),
    ("a seed as text", ["config.SEED_VALUE=lucky"], "SEED_VALUE"),
    ("a rate as text", [f"{S}.start_value=abc"], "start_value"),
    ("a rate that is a section", [f"{S}.start_value={{a:1}}"], "start_value"),
    ("a rate that auto_lr_scaling replaces", [f"{S}.start_value=0.3"], "start_value"),
    ("a warm-up that is a list", [f"{S}.warmup_epochs=[1]"], "warmup_epochs"),
    ("a schedule that is a number", [f"{S}=0.1"], "param_schedulers.lr"),
    ("no schedules", [f"{OPT}.param_schedulers=null"], "param_schedulers"),
    ("misspelled and appended", [f"+{OPT}.num_epoch=4"], "num_epochs"),
    ("misspelled and overridden", [f"{OPT}.num_epoch=4"], "num_epochs"),
    ("a crop as text", [f"{T}.1.size=big"], "size"),
    ("a crop with three sides", [f"{T}.1.size=[32,32,32]"], "size"),
    ("no transforms", [f"{T}=null"], "TRANSFORMS"),
    ("a head without settings", [f"{H}=[[mlp,3]]"], "HEAD.PARAMS"),
    ("no heads", [f"{H}=[]"], "HEAD.PARAMS"),
    ("no trunk", ["config.MODEL.TRUNK=null"], "MODEL.TRUNK"),
    ("a width for each branch", ["config.MODEL.TRUNK.SMALL_RESNET.WIDTH=[8,8]"], "WIDTH"),
    ("no loss", [f"{L}=null"], "LOSS"),
    ("no hooks", ["config.HOOKS=null"], "HOOKS"),
    ("a limit as text", [f"{D}.DATA_LIMIT=many"], "DATA_LIMIT"),
    ("no section of its own", [f"{M}.ONLINE_EVALUATION=null"], "ONLINE_EVALUATION"),
    ("no rendezvous", ["config.DISTRIBUTED.RUN_ID=null"], "RUN_ID"),
    ("no checkpoint folder", ["config.CHECKPOINT.DIR=null"], "CHECKPOINT.DIR"),
    ("two checkpoint folders", ["config.CHECKPOINT.DIR=[a,b]"], "CHECKPOINT.DIR"),
    (
        "a checkpoint folder that nobody can make",
        ["config.CHECKPOINT.DIR=/proc/none"],
        "CHECKPOINT.DIR",
    ),
    ("misspelled VISSL section", ["config.OPTIMISER.num_epochs=1"], "OPTIMISER"),
    (
        "misspelled config",
        ["config=mscn/quikstart"],
        "Could not find 'config/mscn/quikstart'; did you mean mscn/quickstart?",
    ),
]


def says(said: str | None, part: str) -> bool:
    """Whether a message has ``part``, not only as the end of a longer name."""
    return said is not None and re.search(rf"(?<!\w){re.escape(part)}", said) is not None


def said_of(overrides: Sequence[str]) -> str | None:
    """The error message with which VISSL's tool refuses a configuration, or None if it takes it.

    Raises:
        Exception: what would end in a traceback.
    """
    from mscn_plugin.vissl.config_hook import refusal

    config = [] if any(o.startswith("config=") for o in overrides) else ["config=mscn/quickstart"]
    return refusal([*config, *overrides])


def check_all(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Try every bad configuration in ``folder``; a row for each, with its message."""
    (folder / "empty").mkdir(parents=True)
    (folder / "a_file").write_text("")
    here = os.getcwd()
    os.chdir(folder)
    logging.disable(logging.INFO)
    rows = []
    try:
        for what, overrides, part in BAD:
            given = [f"{M}.DATA={data}"] if not any(f"{M}.DATA=" in o for o in overrides) else []
            try:
                said = said_of([*given, *overrides])
                right = says(said, part)
            except Exception as error:
                said, right = f"traceback: {type(error).__name__}: {error}", False
            rows.append({"what": what, "overrides": list(overrides), "said": said, "right": right})
    finally:
        logging.disable(logging.NOTSET)
        os.chdir(here)
    return rows
