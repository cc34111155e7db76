with {{#kits}}recursive {{/kits}}{{>company.sql}}, {{>item.sql}}, house as (
  select w.id, w.code, v.parent_path
    from stock_warehouse w
    join company on company.id = w.company_id
    join stock_location v on v.id = w.view_location_id
   where {{#warehouses}}w.code = any({{warehouses}}){{/warehouses}}{{^warehouses}}w.active{{/warehouses}}
), place as (
  select house.id as house, l.id from house join stock_location l on l.parent_path like house.parent_path || '%'
), {{#kits}}{{>kit.sql}}, {{/kits}}counted as materialized (
  -- what is counted: the products themselves, and what kits consist of
  select item.id, item.unit from item join product_template t on t.id = item.template and t.is_storable
  {{#kits}}union select part, unit from part{{/kits}}
), held as (
  -- the sum of each column: a quant that was inserted beside a locked one has no quantity
  select q.product_id, place.house, sum(q.quantity) as quantity, sum(q.reserved_quantity) as reserved
    from stock_quant q join place on place.id = q.location_id
   where q.product_id = any(array(select id from counted))
   group by 1, 2
), moving as (
  select m.product_id, h.id as house, -m.product_qty as leaving, 0 as coming
    from stock_move m
    join place source on source.id = m.location_id
    join house h on h.id = source.house
   where {{sellable}} in ('forecast', 'promised') and m.product_id = any(array(select id from counted))
     and m.state in ('waiting', 'confirmed', 'assigned', 'partially_available')
     and not exists (select from place p
                      where p.house = h.id and p.id = coalesce(m.location_final_id, m.location_dest_id))
  union all
  select m.product_id, h.id, 0, m.product_qty
    from stock_move m
    join place target on target.id = coalesce(m.location_final_id, m.location_dest_id)
    join house h on h.id = target.house
   where {{sellable}} in ('forecast', 'promised') and m.product_id = any(array(select id from counted))
     and m.state in ('waiting', 'confirmed', 'assigned', 'partially_available')
     and not exists (select from place p where p.house = h.id and p.id = m.location_id)
), planned as (
  select product_id, house, sum(leaving) as leaving, sum(coming) as coming from moving group by 1, 2
), level as (
  select counted.id, house.id as house,
         round((coalesce(held.quantity, 0)
           - case when {{sellable}} = 'free' then coalesce(held.reserved, 0) else 0 end
           + coalesce(planned.leaving, 0)
           + case when {{sellable}} = 'forecast' then coalesce(planned.coming, 0) else 0 end
         ) / counted.unit) * counted.unit as available
    from counted
    cross join house
    left join held on held.product_id = counted.id and held.house = house.id
    left join planned on planned.product_id = counted.id and planned.house = house.id
)
{{#kits}}
, assembled as (
  -- as often as the scarcest part allows
  select part.kit as id, level.house,
         floor(round(min(round(level.available / part.quantity / part.unit) * part.unit) * part.batch, 6)) as available
    from part join level on level.id = part.part
   group by part.kit, level.house, part.batch
)
{{/kits}}
select item.id as key, item.sku, house.code as location,
       {{#kits}}case when bill.product is not null then coalesce(assembled.available, 0) else level.available end{{/kits}}
       {{^kits}}level.available{{/kits}} as available
  from item
  cross join house
  left join level on level.id = item.id and level.house = house.id
  {{#kits}}
  left join bill on bill.product = item.id
  left join assembled on assembled.id = item.id and assembled.house = house.id
  {{/kits}}
 where level.id is not null {{#kits}}or bill.product is not null{{/kits}}
